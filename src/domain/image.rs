//! Names of container images: whether a name is valid, and which names mean the same image. The grammar is
//! that of the kubelet, github.com/distribution/reference. Asks no registry; must not know what the image is
//! for.

use std::fmt;

/// The registry of a name that contains none, as every container runtime reads it.
const REGISTRY: &str = "docker.io";

/// The folder, on [`REGISTRY`], of a name that contains none.
const LIBRARY: &str = "library/";

/// The longest path and the longest tag, in characters.
const PATH: usize = 255;
const TAG: usize = 128;

/// Lengths of a digest's hexadecimal digits, by its algorithm.
const DIGESTS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// How a URL that is given for a name begins.
const SCHEMES: [&str; 4] = ["https://", "http://", "docker://", "oci://"];

/// The full name of an image, with every omitted part filled in except the tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Image {
    host: String,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// Why a text is not the name of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoImage {
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// It is a URL.
    #[error("it begins with `{0}`, which an image's name does not have")]
    Scheme(&'static str),
    /// The registry is not a valid host.
    #[error("the part before the first slash must be a host with an optional port")]
    Host,
    /// The path contains an upper-case letter.
    #[error("its path has an upper-case letter")]
    UpperCase,
    /// The path is invalid for another reason.
    #[error(
        "each part of its path must be lower-case letters and digits, separated by `.`, `_`, `__` or dashes"
    )]
    Path,
    /// The path is too long.
    #[error("its path has more than {PATH} characters")]
    Long,
    /// The tag is invalid.
    #[error(
        "the tag must be 1 to {TAG} letters, digits, `_`, `.` or `-`, and must not start with `.` or `-`"
    )]
    Tag,
    /// The digest is invalid.
    #[error("the digest must be `sha256:` and 64 lower-case hexadecimal digits")]
    Digest,
    /// It is the id of an image.
    #[error("it is an image id, which a registry cannot resolve")]
    Id,
}

// === impl Image ===

impl Image {
    /// Parses a name.
    ///
    /// # Errors
    ///
    /// The name is invalid; see [`NoImage`].
    pub fn parse(text: &str) -> Result<Self, NoImage> {
        if text.is_empty() {
            return Err(NoImage::Empty);
        }
        if text.len() == 64 && text.bytes().all(is_hex) {
            return Err(NoImage::Id);
        }
        if let Some(scheme) = SCHEMES.into_iter().find(|scheme| text.starts_with(scheme)) {
            return Err(NoImage::Scheme(scheme));
        }
        let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
        let tagged = rest.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'));
        let (name, tag) = tagged.map_or((rest, None), |(name, tag)| (name, Some(tag)));
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return Err(NoImage::Digest);
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(NoImage::Tag);
        }
        let (host, path) = match name.split_once('/').filter(|(first, _)| names_host(first)) {
            Some((host, path)) => (host, path),
            None => (REGISTRY, name),
        };
        // A first part that is not a host may still be a folder. The grammar of the kubelet accepts it and
        // leaves the rest to the container runtime.
        if !is_host(host) && !is_component(host) {
            return Err(NoImage::Host);
        }
        let host = if host == "index.docker.io" { REGISTRY } else { host };
        let folder = if host == REGISTRY && !path.contains('/') { LIBRARY } else { "" };
        let path = format!("{folder}{path}");
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(NoImage::UpperCase);
        }
        if !path.split('/').all(is_component) {
            return Err(NoImage::Path);
        }
        if path.len() > PATH {
            return Err(NoImage::Long);
        }
        let owned = |part: Option<&str>| part.map(ToOwned::to_owned);
        Ok(Self { host: host.to_owned(), path, tag: owned(tag), digest: owned(digest) })
    }

    /// Returns whether the name may later mean another image: it has no digest, and its tag is `latest` or
    /// left out.
    pub fn moves(&self) -> bool {
        self.digest.is_none() && self.tag.as_deref().is_none_or(|tag| tag == "latest")
    }

    /// Returns whether the name has a tag.
    pub const fn has_tag(&self) -> bool {
        self.tag.is_some()
    }

    /// Returns the names under which a node may list the image: the full name, and the short forms that
    /// container runtimes use for images of [`REGISTRY`]. If there is a digest the tag is ignored, as it is
    /// for a pull.
    pub fn listed(&self) -> Vec<String> {
        let Self { host, path, .. } = self;
        let end = match (&self.digest, &self.tag) {
            (Some(digest), _) => format!("@{digest}"),
            (None, tag) => format!(":{}", tag.as_deref().unwrap_or("latest")),
        };
        let mut names = vec![format!("{host}/{path}{end}")];
        if host == REGISTRY {
            names.push(format!("{path}{end}"));
            names.extend(path.strip_prefix(LIBRARY).map(|short| format!("{short}{end}")));
        }
        names
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)?;
        match (&self.tag, &self.digest) {
            (Some(tag), _) => write!(f, ":{tag}")?,
            (None, None) => f.write_str(":latest")?,
            (None, Some(_)) => {}
        }
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

/// Returns whether the first part of a name is a registry and not a folder. Folders contain none of these
/// characters.
fn names_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let label = |part: &str| {
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        edge(part.bytes().next())
            && edge(part.bytes().last())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_name = match address {
        Some(address) => !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'),
        None => name.split('.').all(label),
    };
    is_name && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Returns whether a part of the path is valid: lower-case letters and digits, with a dot, one or two
/// underscores, or any number of dashes as separators.
fn is_component(part: &str) -> bool {
    let word = |b: char| b.is_ascii_lowercase() || b.is_ascii_digit();
    let between = |gap: &str| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|b| b == b'-');
    part.starts_with(word) && part.ends_with(word) && part.split(word).all(between)
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, digits)) = digest.split_once(':') else { return false };
    let known = DIGESTS.iter().any(|(name, length)| *name == algorithm && digits.len() == *length);
    known && digits.bytes().all(is_hex)
}

const fn is_hex(b: u8) -> bool {
    matches!(b, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, string::string_regex};

    use super::*;

    #[test]
    fn names_of_one_image_are_read_as_the_same() {
        let full = |text: &str| Image::parse(text).unwrap().to_string();
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (text, read) in [
            ("web", "docker.io/library/web:latest"),
            ("web:1", "docker.io/library/web:1"),
            ("docker.io/web:1", "docker.io/library/web:1"),
            ("index.docker.io/library/web:1", "docker.io/library/web:1"),
            ("team/web", "docker.io/team/web:latest"),
            ("localhost/web:1", "localhost/web:1"),
            ("registry:5000/web", "registry:5000/web:latest"),
            ("Registry/web:1", "Registry/web:1"),
            ("[::1]:5000/a__b/c--d.e_f:V1.0-x", "[::1]:5000/a__b/c--d.e_f:V1.0-x"),
        ] {
            assert_eq!(full(text), read);
        }
        assert_eq!(full(&format!("web@{digest}")), format!("docker.io/library/web@{digest}"));
        let both = Image::parse(&format!("web:latest@{digest}")).unwrap();
        assert_eq!(both.listed()[2], format!("web@{digest}"), "the tag of a digest is not asked for");
        assert!(!both.moves() && both.has_tag());
    }

    #[test]
    fn what_no_registry_can_have_is_told_apart() {
        let (long, id, short) = ("a".repeat(249), "0".repeat(64), "0".repeat(63));
        let upper = format!("web@sha256:{}", "A".repeat(64));
        for (text, why) in [
            ("", NoImage::Empty),
            (id.as_str(), NoImage::Id),
            ("Shop::1", NoImage::UpperCase),
            ("shop::1", NoImage::Path),
            ("team/Shop:1", NoImage::UpperCase),
            ("web:", NoImage::Tag),
            ("web:-1", NoImage::Tag),
            ("web@1", NoImage::Digest),
            (&format!("web@sha256:{short}"), NoImage::Digest),
            (&upper, NoImage::Digest),
            ("a.b:port/web", NoImage::Host),
            ("-a.b/web", NoImage::Host),
            ("https://a.b/web", NoImage::Scheme("https://")),
            ("docker://web", NoImage::Scheme("docker://")),
            ("ftp://a.b/web", NoImage::Host),
            ("a.b//web", NoImage::Path),
            ("a.b/web/", NoImage::Path),
            ("we___b", NoImage::Path),
            ("we..b", NoImage::Path),
            ("_web", NoImage::Path),
            ("bücher", NoImage::Path),
            (long.as_str(), NoImage::Long),
        ] {
            assert_eq!(Image::parse(text), Err(why), "{text}");
        }
        assert!(Image::parse(&"a".repeat(247)).is_ok(), "with its folder it has 255");
    }

    const HOST: &str = r"([a-z0-9]([a-z0-9-]{0,4}[a-z0-9])?\.[a-z]{2,3}|localhost|\[[0-9a-f]{0,4}:[0-9a-f:]{1,4}\])(:[0-9]{1,5})?/";
    const COMPONENTS: &str = r"[a-z0-9]{1,4}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,4}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}){0,3}";

    fn any_name() -> impl Strategy<Value = String> {
        let name =
            format!("({HOST})?{COMPONENTS}(:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(@sha256:[0-9a-f]{{64}})?");
        string_regex(&name).unwrap()
    }

    proptest! {
        #[test]
        fn a_name_of_the_grammar_is_read_and_read_again_the_same(
            text in any_name()
        ) {
            let image = Image::parse(&text);
            prop_assert!(image.is_ok(), "{text}: {image:?}");
            let image = image.unwrap();
            let full = image.to_string();
            let again = Image::parse(&full).unwrap();
            prop_assert_eq!(again.to_string(), full);
            for name in image.listed() {
                prop_assert_eq!(Image::parse(&name).unwrap().listed(), image.listed());
            }
        }

        #[test]
        fn no_text_is_too_much(text in r"[a-zA-F0-9@:/._é\[\]-]{0,40}") {
            if let Ok(image) = Image::parse(&text) {
                prop_assert_eq!(Image::parse(&image.to_string()).unwrap().listed(), image.listed());
            }
        }
    }
}
