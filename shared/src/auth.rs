//! Who may enter: callers with an API key (servers) or a JWT (browsers), each with scopes.
//!
//! Keys are known by their SHA-256 digest only; a presented key is compared with every known digest in constant time.
//! Tokens are accepted with the algorithm, issuer, audience and key id that the layer's secret pins, and no other. Time
//! is an argument. No key configured means that nobody enters. There is no anonymous caller: a route is open only by
//! saying [`Access::Public`] out loud.

use std::fmt;
use std::sync::{Arc, Once};

use http::HeaderMap;
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{JwkSet, KeyAlgorithm};
use jsonwebtoken::signature::{Error as SignatureError, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey, Validation};
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::clock::Timestamp;
use crate::error::{ApiError, Detail, FORBIDDEN, Issue, UNAUTHENTICATED, issue};
use crate::secrets::{Secret, SecretShape, SecretString};

/// How far apart an issuer's clock and ours may be, in seconds.
const LEEWAY_SECONDS: i64 = 60;

/// The longest credential looked at.
const MAX_CREDENTIAL_BYTES: usize = 8 * 1024;

const MISSING: Issue = issue("missing", "인증 정보가 없습니다.", "Credentials are missing.");
const INVALID: Issue = issue("invalid", "인증 정보가 올바르지 않습니다.", "The credentials are not valid.");
const EXPIRED: Issue = issue("expired", "인증 정보가 만료되었습니다.", "The credentials have expired.");
const SCOPE: Issue = issue("scope_missing", "필요한 권한이 없습니다.", "The required scope is missing.");

/// The layer's own secret, as it stands in Secrets Manager.
#[derive(Debug, Deserialize)]
pub struct IeumSecret {
    /// The keys of server callers; two live ones per caller make rotation possible.
    #[serde(default)]
    pub api_keys: Vec<ApiKey>,
    /// Who may issue tokens.
    #[serde(default)]
    pub jwt_issuers: Vec<Issuer>,
    /// The secret that names cached requests: base64 of 32 random bytes.
    pub cache_key: SecretString,
}

impl SecretShape for IeumSecret {
    const MEMBERS: &'static [&'static str] = &["api_keys", "jwt_issuers", "cache_key"];
}

/// An API key, without the key.
#[derive(Debug, Deserialize)]
pub struct ApiKey {
    /// Who the caller is, in logs and audits.
    pub id: String,
    /// The same for people.
    pub label: String,
    /// What the caller may do; `*` is everything.
    pub scopes: Vec<String>,
    /// Until when, RFC 3339.
    #[serde(deserialize_with = "timestamp")]
    pub not_after: Timestamp,
    /// SHA-256 of the key, 64 hexadecimal digits.
    #[serde(deserialize_with = "digest")]
    pub sha256: [u8; 32],
}

/// An issuer of tokens.
#[derive(Deserialize)]
pub struct Issuer {
    /// The claim `iss`.
    pub issuer: String,
    /// The claim `aud` must name this.
    pub audience: String,
    /// Its keys (RFC 7517), each with `kid` and `alg`: HS256, RS256 or ES256.
    pub jwks: JwkSet,
}

/// Without the keys: a shared one stands there in the clear.
impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("issuer", &self.issuer).field("audience", &self.audience).finish_non_exhaustive()
    }
}

fn timestamp<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    Timestamp::parse_rfc3339(&text).ok_or_else(|| serde::de::Error::custom("not RFC 3339"))
}

fn digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    let text = String::deserialize(deserializer)?;
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).map_err(|_| serde::de::Error::custom("not 64 hexadecimal digits"))?;
    Ok(digest)
}

/// What a route asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: webhooks, which prove themselves otherwise, and the public health summary.
    Public,
    /// This scope.
    Scope(&'static str),
}

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// `key:` and the key's id, or `jwt:`, the token's `sub`, `@` and its issuer: whoever it is, nobody else is called so.
    pub id: String,
    scopes: Vec<String>,
}

impl Caller {
    /// Whether it has been given `scope`.
    pub fn may(&self, scope: &str) -> bool {
        self.scopes.iter().any(|owned| owned == scope || owned == "*")
    }
}

/// The door.
#[derive(Debug)]
pub struct Door {
    secret: Arc<Secret<IeumSecret>>,
}

impl Door {
    /// A door that opens to the callers in `secret`.
    pub fn new(secret: Arc<Secret<IeumSecret>>) -> Self {
        static RING: Once = Once::new();
        // Somebody else in this process may have been first, with the same provider.
        RING.call_once(|| {
            let _ = RING_PROVIDER.install_default();
        });
        Self { secret }
    }

    /// The caller behind `headers`, if the route asks for one.
    ///
    /// # Errors
    /// 401 without valid credentials, 403 without the scope.
    pub async fn admit(&self, headers: &HeaderMap, access: Access, now: Timestamp) -> Result<Option<Caller>, ApiError> {
        let Access::Scope(scope) = access else { return Ok(None) };
        let secret = self.secret.current().await;
        let caller = identify(headers, &secret, now)
            .map_err(|(header, issue)| ApiError::new(UNAUTHENTICATED).with(Detail::field(header, issue)))?;
        if caller.may(scope) {
            Ok(Some(caller))
        } else {
            let extra = serde_json::Map::from_iter([("scope".to_owned(), scope.into())]);
            Err(ApiError::new(FORBIDDEN).with(Detail::offer(SCOPE, extra)))
        }
    }
}

type Refused = (&'static str, Issue);

fn identify(headers: &HeaderMap, secret: &IeumSecret, now: Timestamp) -> Result<Caller, Refused> {
    let presented = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(key) = presented("x-api-key") {
        return by_key(key, &secret.api_keys, now).map_err(|issue| ("x-api-key", issue));
    }
    let Some(authorization) = presented("authorization") else { return Err(("x-api-key", MISSING)) };
    let token = authorization.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    token
        .ok_or(INVALID)
        .and_then(|(_, token)| by_token(token.trim(), &secret.jwt_issuers, now))
        .map_err(|issue| ("authorization", issue))
}

fn by_key(key: &str, known: &[ApiKey], now: Timestamp) -> Result<Caller, Issue> {
    if key.is_empty() || key.len() > MAX_CREDENTIAL_BYTES {
        return Err(INVALID);
    }
    let presented = Sha256::digest(key.as_bytes());
    // Every digest is compared, whether or not one has matched: the time taken says nothing.
    let mut found = None;
    for candidate in known {
        let same: Choice = presented.ct_eq(&candidate.sha256);
        if same.into() {
            found = Some(candidate);
        }
    }
    let key = found.ok_or(INVALID)?;
    if now >= key.not_after {
        return Err(EXPIRED);
    }
    Ok(Caller { id: format!("key:{}", key.id), scopes: key.scopes.clone() })
}

/// The claims we read (RFC 7519, RFC 8693 for `scope`).
#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: i64,
    #[serde(default)]
    nbf: Option<i64>,
    #[serde(default)]
    scope: String,
}

fn by_token(token: &str, issuers: &[Issuer], now: Timestamp) -> Result<Caller, Issue> {
    if token.len() > MAX_CREDENTIAL_BYTES {
        return Err(INVALID);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| INVALID)?;
    let kid = header.kid.ok_or(INVALID)?;
    // Key ids are unique within an issuer only, so each issuer that has this one is tried, with its own pins.
    let candidates = issuers.iter().filter_map(|issuer| Some((issuer, issuer.jwks.find(&kid)?)));
    for (issuer, jwk) in candidates {
        let algorithm = match jwk.common.key_algorithm {
            Some(KeyAlgorithm::HS256) => Algorithm::HS256,
            Some(KeyAlgorithm::RS256) => Algorithm::RS256,
            Some(KeyAlgorithm::ES256) => Algorithm::ES256,
            _ => continue,
        };
        let Ok(key) = DecodingKey::from_jwk(jwk) else { continue };
        let mut pins = Validation::new(algorithm);
        pins.set_issuer(&[&issuer.issuer]);
        pins.set_audience(&[&issuer.audience]);
        pins.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Time is ours to judge, by the clock that everything else goes by.
        (pins.validate_exp, pins.validate_nbf) = (false, false);
        let Ok(token) = jsonwebtoken::decode::<Claims>(token, &key, &pins) else { continue };
        let claims = token.claims;
        if now.as_seconds() >= claims.exp.saturating_add(LEEWAY_SECONDS) {
            return Err(EXPIRED);
        }
        if claims.nbf.is_some_and(|nbf| now.as_seconds() < nbf.saturating_sub(LEEWAY_SECONDS)) {
            return Err(INVALID);
        }
        let scopes = claims.scope.split_ascii_whitespace().map(str::to_owned).collect();
        return Ok(Caller { id: format!("jwt:{}@{}", claims.sub, issuer.issuer), scopes });
    }
    Err(INVALID)
}

/// The token library over ring, which the process holds anyway; its bundled alternatives would each bring a second set of
/// cryptography. We verify only: there is no signer.
static RING_PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_: &Algorithm, _: &EncodingKey| -> jsonwebtoken::errors::Result<Box<dyn JwtSigner>> {
        Err(ErrorKind::InvalidAlgorithm.into())
    },
    verifier_factory: |algorithm, key| Ok(Box::new(RingVerifier { algorithm: *algorithm, key: key.clone() })),
    key_utils: KeyUtils::new_unimplemented(),
};

struct RingVerifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        let verified = match (self.algorithm, self.key.kind()) {
            (Algorithm::HS256, DecodingKeyKind::SecretOrDer(secret)) => {
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
                ring::hmac::verify(&key, message, signature)
            }
            (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            _ => Err(ring::error::Unspecified),
        };
        verified.map_err(|_| SignatureError::new())
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::secret_of;

    const NOW: Timestamp = Timestamp::from_millis(1_795_233_000_000);
    const HS_SECRET: &[u8] = b"a shared secret of at least 32 bytes!";

    /// The public half of a key made for this test; the private half signed [`RS_TOKEN`] and is gone.
    const RS_MODULUS: &str = "q9G78pvHioIlfKrjdIcq8rbP3nbk-TbeeedqElvaQ5brvJiWGSFqatYMKd9tFCw8ZZc6D9BHCIQBNXuXPwqRKSHbDZaaXNWg61rZM5nj4lbswHX3XRp4VJUVmqZKpHb2IGXMWtrayUsqHt9uCDCVxpRrWUwqf_N0sykGwBWl0_OHgHHznj3Eb6I8fyWU18O471xJ039kAFeGXmVt9F789f5y9SFuUxk3sW6ERGtlLYuC5gL0ipXTJvlQlO8-hl2N6-3YgeqqNBW4-8gGB_zLHRSLVuU-ZSmJteEV09Uv1XlVPD_6YsTYtkY3yvvcAFCwt0fMgbx8wuFL1HEsePCoBQ";
    const RS_TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzIn0.eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUua3IiLCJhdWQiOiJpZXVtIiwic3ViIjoidXNlci03IiwiZXhwIjoxNzk1MjMzMzAwLCJzY29wZSI6InZlcmlmeTpyZWFkIn0.NYfm-j071uNCikgPgXcvDVw--FNtVIrsO9cMNlMS_Uz9JKHCOmx-9QPk4yGZAsLYce39tCcnVHdU-xwAgDoP0VqDnFIcZTmtyjYxQNaFTm-URUz7y-kyoc3y6zBlaTwaZOH2nFju03NxGvG8q-15E1H_S3Xv2s_PzvkAKGh7vnWdihIba2rLSaw47BhfbUC_n5VHZlAnowZjbygBLjA_9jJJjc3puhuhQBUqau73xMG2F9Vr_LnDZaUs4qA4dX2SMFjfkGlyZkdqO0-h_rYh9IBMO36HInsBipHcmJGcuhIymrT5F6IyCemknfG17jqrdbQrvs3LJuHMf5WO-DO91w";

    fn es_key() -> EcdsaKeyPair {
        let (rng, alg) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let document = EcdsaKeyPair::generate_pkcs8(alg, &rng).unwrap();
        EcdsaKeyPair::from_pkcs8(alg, document.as_ref(), &rng).unwrap()
    }

    async fn door(es: &EcdsaKeyPair) -> Door {
        let point = es.public_key().as_ref();
        let keys = json!([
            {"kty": "RSA", "kid": "rs", "alg": "RS256", "n": RS_MODULUS, "e": "AQAB"},
            {"kty": "oct", "kid": "hs", "alg": "HS256", "k": B64.encode(HS_SECRET)},
            {"kty": "EC", "kid": "es", "alg": "ES256", "crv": "P-256", "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..])},
        ]);
        let key = |id: &str, key: &str, scopes: &[&str], not_after: &str| json!({"id": id, "label": id, "scopes": scopes, "not_after": not_after, "sha256": hex::encode(Sha256::digest(key))});
        let secret = json!({
            "api_keys": [
                key("portal", "key-one", &["verify:read"], "2027-01-01T00:00:00Z"),
                key("portal", "key-two", &["verify:read"], "2027-01-01T00:00:00+09:00"),
                key("old", "key-old", &["*"], "2026-11-21T03:50:00Z"),
                key("admin", "key-admin", &["*"], "2027-01-01T00:00:00Z"),
            ],
            "jwt_issuers": [{"issuer": "https://login.example.kr", "audience": "ieum", "jwks": {"keys": keys}}],
            "cache_key": "AAAA",
        });
        Door::new(secret_of(&secret.to_string()).await)
    }

    async fn enter(door: &Door, header: &str, value: &str) -> Result<String, (u16, String)> {
        let mut headers = HeaderMap::new();
        headers.insert(http::HeaderName::from_bytes(header.as_bytes()).unwrap(), value.parse().unwrap());
        match door.admit(&headers, Access::Scope("verify:read"), NOW).await {
            Ok(caller) => Ok(caller.expect("a scope has a caller").id),
            Err(error) => {
                let response = error.to_response("t", NOW, crate::error::Language::English);
                let body: Value = serde_json::from_str(response.body()).unwrap();
                Err((response.status().as_u16(), body["error"]["details"][0]["issue"].as_str().unwrap().to_owned()))
            }
        }
    }

    fn claims() -> Value {
        let now = NOW.as_seconds();
        json!({"iss": "https://login.example.kr", "aud": "ieum", "sub": "user-7", "exp": now + 300, "nbf": now - 5, "scope": "verify:read sms:send"})
    }

    fn hs_token(header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, HS_SECRET);
        format!("{signed}.{}", B64.encode(ring::hmac::sign(&key, signed.as_bytes())))
    }

    fn es_token(key: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        format!("{signed}.{}", B64.encode(key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap()))
    }

    #[tokio::test]
    async fn a_live_key_enters_and_no_other() {
        let door = door(&es_key()).await;
        assert_eq!(enter(&door, "x-api-key", "key-one").await.as_deref(), Ok("key:portal"));
        assert_eq!(
            enter(&door, "x-api-key", "key-two").await.as_deref(),
            Ok("key:portal"),
            "two are live during a rotation"
        );
        assert_eq!(enter(&door, "x-api-key", "key-admin").await.as_deref(), Ok("key:admin"));
        for (key, issue) in [("key-three", "invalid"), ("", "invalid"), ("key-old", "expired")] {
            assert_eq!(enter(&door, "x-api-key", key).await, Err((401, issue.to_owned())), "{key}");
        }
        assert_eq!(enter(&door, "accept", "*/*").await, Err((401, "missing".to_owned())));
        assert_eq!(enter(&door, "authorization", "Basic a2V5").await, Err((401, "invalid".to_owned())));
    }

    #[tokio::test]
    async fn the_keys_of_an_issuer_are_never_printed() {
        let door = door(&es_key()).await;
        let printed = format!("{:?}", door.secret.current().await);
        assert!(printed.contains("login.example.kr") && !printed.contains(&B64.encode(HS_SECRET)), "{printed}");
    }

    #[tokio::test]
    async fn a_scope_is_asked_for_and_a_public_route_asks_nothing() {
        let door = door(&es_key()).await;
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", "key-one".parse().unwrap());
        let error = door.admit(&headers, Access::Scope("verify:write"), NOW).await.unwrap_err();
        assert_eq!(error.code().status, 403);
        assert_eq!(door.admit(&HeaderMap::new(), Access::Public, NOW).await.unwrap(), None);
    }

    #[tokio::test]
    async fn tokens_enter_with_every_pin_in_place() {
        let es = es_key();
        let door = door(&es).await;
        let hs = hs_token(&json!({"alg": "HS256", "kid": "hs"}), &claims());
        assert_eq!(
            enter(&door, "authorization", &format!("Bearer {hs}")).await.as_deref(),
            Ok("jwt:user-7@https://login.example.kr")
        );
        let es = es_token(&es, &json!({"alg": "ES256", "kid": "es"}), &claims());
        assert_eq!(
            enter(&door, "authorization", &format!("bearer {es}")).await.as_deref(),
            Ok("jwt:user-7@https://login.example.kr")
        );
        assert_eq!(
            enter(&door, "authorization", &format!("Bearer {RS_TOKEN}")).await.as_deref(),
            Ok("jwt:user-7@https://login.example.kr")
        );
    }

    #[tokio::test]
    async fn tokens_with_any_pin_out_of_place_are_refused() {
        let es = es_key();
        let door = door(&es).await;
        let header = json!({"alg": "HS256", "kid": "hs"});
        let with = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            hs_token(&header, &claims)
        };
        let now = NOW.as_seconds();
        let mut no_exp = claims();
        no_exp.as_object_mut().unwrap().remove("exp");
        let mut flipped = hs_token(&header, &claims());
        let last = flipped.pop().unwrap();
        flipped.push(if last == 'A' { 'E' } else { 'A' });
        let none = format!("{}.{}.", B64.encode(r#"{"alg":"none","kid":"hs"}"#), B64.encode(claims().to_string()));
        for (token, issue) in [
            (with("exp", json!(now - 60)), "expired"),
            (with("exp", json!("tomorrow")), "invalid"),
            (hs_token(&header, &no_exp), "invalid"),
            (with("nbf", json!(now + 61)), "invalid"),
            (with("iss", json!("https://evil.example")), "invalid"),
            (with("aud", json!("other")), "invalid"),
            (hs_token(&json!({"alg": "HS256"}), &claims()), "invalid"),
            (hs_token(&json!({"alg": "HS256", "kid": "unknown"}), &claims()), "invalid"),
            // The public key of an RSA key as the secret of a MAC, and the confusion of algorithms: an EC key's id with a MAC, and the reverse.
            (hs_token(&json!({"alg": "HS256", "kid": "rs"}), &claims()), "invalid"),
            (RS_TOKEN.replacen("eyJhbGciOiJSUzI1NiI", "eyJhbGciOiJIUzI1NiI", 1), "invalid"),
            (hs_token(&json!({"alg": "HS256", "kid": "es"}), &claims()), "invalid"),
            (es_token(&es, &json!({"alg": "ES256", "kid": "hs"}), &claims()), "invalid"),
            (es_token(&es_key(), &json!({"alg": "ES256", "kid": "es"}), &claims()), "invalid"),
            (flipped, "invalid"),
            (none, "invalid"),
            ("a.b.c".to_owned(), "invalid"),
        ] {
            assert_eq!(
                enter(&door, "authorization", &format!("Bearer {token}")).await,
                Err((401, issue.to_owned())),
                "{token}"
            );
        }
        let scopeless = with("scope", json!("sms:send"));
        assert_eq!(
            enter(&door, "authorization", &format!("Bearer {scopeless}")).await,
            Err((403, "scope_missing".to_owned()))
        );
    }
}
