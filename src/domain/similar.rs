//! Guesses what a caller meant by a name that there is not.

/// Returns the known name that differs least from the wanted one, if the difference looks like a slip: at
/// most `most` letters, and at most a third of the name. Of equally close names it is the first by alphabet.
pub fn closest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>, most: usize) -> Option<&'a str> {
    let distances = known.map(|name| (strsim::levenshtein(name, wanted), name));
    let is_slip = |distance: usize| (1..=most).contains(&distance) && distance * 3 <= wanted.len();
    distances.filter(|(distance, _)| is_slip(*distance)).min().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_from_another_name() {
        let known = ["api", "web", "web-2", "webshop"];
        for (wanted, meant) in [
            ("wev", Some("web")),
            ("web", None),
            ("webshp", Some("webshop")),
            ("wb", None),
            ("webshop-europe", None),
            ("", None),
        ] {
            assert_eq!(closest(wanted, known.into_iter(), 2), meant, "{wanted}");
        }
        assert_eq!(closest("bab", ["bac", "baa"].into_iter(), 2), Some("baa"));
    }
}
