//! The caller's bearer token, and to which addresses it may be sent. Must not know where a token comes from.

use std::net::IpAddr;

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
    transport::Uri,
};

use crate::Error;

/// A bearer token. Its text does not appear in messages or debug output.
#[derive(Clone, Debug)]
pub struct Token(MetadataValue<Ascii>);

/// Adds the caller's token to every call.
#[derive(Clone, Debug, Default)]
pub struct Bearer(Option<Token>);

/// Whether the address is a loopback address, so that data sent to it stays on this machine.
pub(crate) fn is_loopback(address: &Uri) -> bool {
    let host = address.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

// === impl Token ===

impl Token {
    /// Makes a token from its text. Whitespace around it is ignored, because files often end with a newline.
    pub fn new(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.is_empty() || text.contains(char::is_whitespace) {
            return Err(Error::Token);
        }
        let mut value: MetadataValue<Ascii> = format!("Bearer {text}").parse().map_err(|_| Error::Token)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

// === impl Bearer ===

impl Bearer {
    pub(crate) fn new(token: Option<Token>) -> Self {
        Self(token)
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(Token(token)) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_and_never_shown() {
        let token = Token::new(" secret-text\n").expect("it is a token");
        assert!(!format!("{token:?}").contains("secret"), "{token:?}");
        let request = Bearer::new(Some(token)).call(Request::new(())).expect("nothing can go wrong");
        let sent = request.metadata().get("authorization").map(MetadataValue::as_bytes);
        assert_eq!(sent, Some(b"Bearer secret-text".as_slice()));
        for text in ["", " \n", "two words", "line\nline", "\u{7f}"] {
            assert!(matches!(Token::new(text), Err(Error::Token)), "{text:?}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        let is = |text: &str| is_loopback(&text.parse().expect("it is an address"));
        for text in [
            "http://127.0.0.1:1",
            "http://127.9.9.9:1",
            "http://[::1]:1",
            "http://localhost:1",
            "http://LOCALHOST:1",
        ] {
            assert!(is(text), "{text}");
        }
        for text in [
            "http://10.0.0.1:1",
            "http://localhost.example.org:1",
            "http://127.0.0.1.example.org:1",
            "http://[::2]:1",
            "http://0.0.0.0:1",
        ] {
            assert!(!is(text), "{text}");
        }
    }
}
