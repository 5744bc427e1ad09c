//! The link by which a recipient gets no more mail (RFC 8058), and the page behind it. Pure.
//!
//! The link must work years later and without our knowing the mail any more, so it holds the address itself, signed. It
//! has no expiry, and it can do one thing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use ieum::error::Language;
use ieum::secrets::{ExposeSecret, SecretString};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use sha2::Sha256;
use url::Url;

use crate::address::Address;
use crate::template::tag;

/// What is signed besides the address, so that the key's signature is good for nothing else.
const PURPOSE: &[u8] = b"ieum unsubscribe v1\n";

/// Bytes of the signature in a link: 128 bits.
const SIGNATURE_BYTES: usize = 16;

/// The path of the link, below the public address.
pub const PATH: &str = "v1/unsubscribe/";

/// The link for `address`, below `public_url`.
pub fn link(public_url: &Url, key: &SecretString, address: &Address) -> String {
    let base = public_url.as_str().trim_end_matches('/');
    let address_in_it = URL_SAFE_NO_PAD.encode(address.as_str());
    format!("{base}/{PATH}{address_in_it}.{}", URL_SAFE_NO_PAD.encode(signature(key, address.as_str())))
}

/// Whose link it is; `None` when we did not make it.
pub fn read(token: &str, key: &SecretString) -> Option<Address> {
    let (address, signed) = token.split_once('.')?;
    let address = String::from_utf8(URL_SAFE_NO_PAD.decode(address).ok()?).ok()?;
    let signed = URL_SAFE_NO_PAD.decode(signed).ok()?;
    let proven: bool = subtle::ConstantTimeEq::ct_eq(signed.as_slice(), signature(key, &address).as_slice()).into();
    if proven { Address::parse(&address).ok() } else { None }
}

/// The page behind the link: it asks, because mail scanners follow links, and says so once it is `done`.
///
/// # Errors
/// When the page in the repository is no template, which a test rules out.
pub fn page(brand: &str, language: Language, address: &Address, done: bool) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let values = context! { brand, language => tag(language), address => address.as_str(), done };
    environment.render_str(include_str!("../templates/unsubscribe.html"), values)
}

fn signature(key: &SecretString, address: &str) -> Vec<u8> {
    // HMAC takes a key of any length, so the other arm is never taken; an empty signature would match no 16 bytes.
    let mac = Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes());
    mac.map_or_else(
        |_| vec![0; SIGNATURE_BYTES + 1],
        |mac| mac.chain_update(PURPOSE).chain_update(address).finalize().into_bytes()[..SIGNATURE_BYTES].to_vec(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_for_one_address_and_one_key() {
        let (key, other) = (SecretString::from("one"), SecretString::from("other"));
        let address = Address::parse("hong@example.kr").unwrap();
        let link = link(&Url::parse("https://api.example.kr/").unwrap(), &key, &address);
        let token = link.strip_prefix("https://api.example.kr/v1/unsubscribe/").unwrap();
        assert_eq!(read(token, &key), Some(address));
        assert_eq!(read(token, &other), None);
        let (_, signature) = token.split_once('.').unwrap();
        let forged = format!("{}.{signature}", URL_SAFE_NO_PAD.encode("kim@example.kr"));
        for token in [forged.as_str(), "", ".", "a.b", token.trim_end_matches(|c| c != '.')] {
            assert_eq!(read(token, &key), None, "{token}");
        }
    }

    #[test]
    fn the_page_asks_in_the_readers_language_and_shows_an_address_as_text() {
        let address = Address::parse("a&b'c@example.kr").unwrap();
        for (language, ask, said) in [
            (Language::Korean, "더 받지 않으시겠습니까", "수신거부가 완료되었습니다"),
            (Language::English, "Do you want no more news", "You are unsubscribed"),
        ] {
            let asking = page("이음 & <재단>", language, &address, false).unwrap();
            assert!(asking.contains(ask) && asking.contains("<form method=\"post\">"));
            let done = page("이음 & <재단>", language, &address, true).unwrap();
            assert!(done.contains(said) && !done.contains("<form"));
            assert!(done.contains("a&amp;b&#x27;c@example.kr") && done.contains("이음 &amp; &lt;재단&gt;"), "{done}");
        }
    }
}
