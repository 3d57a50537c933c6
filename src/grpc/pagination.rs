//! Pages of lists: sizes and tokens. A token says after which entry the next page begins, and to which list
//! it belongs.

use prost::Message;
use sha2::{Digest, Sha256};

use crate::domain::Error;

/// Size of a page, in bytes, above which no more entries are added to it.
const BYTES: usize = 900 * 1024;

/// The page sizes of a list, in entries.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// When the request names no size.
    default: usize,
    /// The largest size.
    largest: usize,
}

/// Sizes of most lists.
pub(super) const MANY: Sizes = Sizes { default: 50, largest: 1000 };
/// Sizes of lists of small entries, which callers mostly want as a whole.
pub(super) const SMALL: Sizes = Sizes { default: 1000, largest: 10_000 };

/// Returns the number of entries of a page.
pub(super) fn parse_page_size(sizes: Sizes, asked: i32) -> Result<usize, Error> {
    match usize::try_from(asked) {
        Ok(0) => Ok(sizes.default),
        Ok(n) => Ok(n.min(sizes.largest)),
        Err(_) => Err(Error::invalid("page_size", format!("is {asked}; it must not be negative"))),
    }
}

/// Converts as many entries as fit into one page. Also returns the last of them if more follow.
pub(super) fn fill_page<T, M: Message>(
    found: impl IntoIterator<Item = T>,
    mut more: bool,
    convert: impl Fn(&T) -> M,
) -> (Vec<M>, Option<T>) {
    let mut page = Vec::new();
    let mut bytes = 0;
    let mut last = None;
    for entry in found {
        let converted = convert(&entry);
        bytes += converted.encoded_len();
        if bytes > BYTES && last.is_some() {
            more = true;
            break;
        }
        page.push(converted);
        last = Some(entry);
    }
    (page, last.filter(|_| more))
}

/// Returns the token of the page after `last` in the list that `query` describes.
pub(super) fn make_token(query: &str, last: impl std::fmt::Display) -> String {
    format!("p1.{}.{last}", query_digest(query))
}

/// Returns the entry after which the page begins, or `None` for an empty token, which begins the list.
pub(super) fn parse_token<'a>(query: &str, token: &'a str) -> Result<Option<&'a str>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let rest = token.strip_prefix("p1.").and_then(|t| t.split_once('.'));
    let last = rest.filter(|(list, last)| *list == query_digest(query) && !last.is_empty());
    last.map(|(_, last)| Some(last)).ok_or(Error::PageToken)
}

/// Returns a short text that differs for different queries.
pub(super) fn query_digest(query: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(query).into();
    format!("{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_belong_to_one_list() {
        let given = make_token("a", "prod/shop");
        assert_eq!(parse_token("a", &given), Ok(Some("prod/shop")));
        assert_eq!(parse_token("b", &given), Err(Error::PageToken));
        assert_eq!(parse_token("a", "nonsense"), Err(Error::PageToken));
        assert_eq!(parse_token("a", ""), Ok(None));
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!([0, 7, 5000].map(|n| parse_page_size(MANY, n)), [Ok(50), Ok(7), Ok(1000)]);
        assert_eq!([0, 7, 50_000].map(|n| parse_page_size(SMALL, n)), [Ok(1000), Ok(7), Ok(10_000)]);
        assert!(parse_page_size(MANY, -1).is_err());
    }

    #[test]
    fn a_page_ends_before_it_is_too_large_and_is_never_empty() {
        let entries = || (0..5).map(|i| (i, "x".repeat(BYTES / 2 - 100)));
        let convert = |(_, text): &(i32, String)| text.clone();
        let (page, last) = fill_page(entries(), false, convert);
        assert_eq!((page.len(), last.map(|(i, _)| i)), (2, Some(1)));
        let (page, last) = fill_page(entries().take(2), false, convert);
        assert_eq!((page.len(), last), (2, None));
        let (page, last) = fill_page(["x".repeat(2 * BYTES)], true, String::clone);
        assert!(page.len() == 1 && last.is_some());
    }
}
