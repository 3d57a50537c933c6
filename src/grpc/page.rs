//! Pages of lists: sizes and tokens. A token says where to go on and which list it belongs to.

use sha2::{Digest, Sha256};

use crate::domain::{Error, name};

/// Size of a page if none is asked for.
const DEFAULT: usize = 50;
/// Largest page.
const LARGEST: usize = 1000;

/// The number of entries of a page.
pub(super) fn size(asked: i32) -> Result<usize, Error> {
    match usize::try_from(asked) {
        Ok(0) => Ok(DEFAULT),
        Ok(n) => Ok(n.min(LARGEST)),
        Err(_) => Err(Error::invalid("page_size", format!("is {asked}; it must not be negative"))),
    }
}

/// A token that goes on after `last` in the list that `query` describes.
pub(super) fn token(query: &str, last: &name::App) -> String {
    format!("p1.{}.{last}", fingerprint(query))
}

/// Where to go on; an empty token begins.
pub(super) fn parse(query: &str, token: &str) -> Result<Option<name::App>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let rest = token.strip_prefix("p1.").and_then(|t| t.split_once('.'));
    let last = rest
        .filter(|(list, _)| *list == fingerprint(query))
        .and_then(|(_, last)| name::App::parse(last).ok());
    last.map(Some).ok_or(Error::PageToken)
}

/// A token of a list of numbers.
pub(super) fn number_token(query: &str, last: u64) -> String {
    format!("n1.{}.{last}", fingerprint(query))
}

/// Where to go on in a list of numbers; an empty token begins.
pub(super) fn parse_number(query: &str, token: &str) -> Result<Option<u64>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let rest = token.strip_prefix("n1.").and_then(|t| t.split_once('.'));
    let last = rest.filter(|(list, _)| *list == fingerprint(query)).and_then(|(_, last)| last.parse().ok());
    last.map(Some).ok_or(Error::PageToken)
}

fn fingerprint(query: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(query).into();
    format!("{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_belong_to_one_list() {
        let last = name::App::new("prod", "shop");
        let given = token("a", &last);
        assert_eq!(parse("a", &given), Ok(Some(last)));
        assert_eq!(parse("b", &given), Err(Error::PageToken));
        assert_eq!(parse("a", "nonsense"), Err(Error::PageToken));
        assert_eq!(parse("a", ""), Ok(None));
        let given = number_token("a", 7);
        assert_eq!(parse_number("a", &given), Ok(Some(7)));
        assert_eq!(parse_number("b", &given), Err(Error::PageToken));
        assert_eq!((parse("a", &given), parse_number("a", "")), (Err(Error::PageToken), Ok(None)));
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!([size(0), size(7), size(5000)], [Ok(50), Ok(7), Ok(1000)]);
        assert!(size(-1).is_err());
    }
}
