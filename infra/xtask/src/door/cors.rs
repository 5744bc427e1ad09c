//! Decides about requests from browsers, by the template's `CorsConfiguration`, as API Gateway does.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;

/// The decisions of one HTTP API.
#[derive(Debug, Clone)]
pub(crate) struct Cors {
    origins: Vec<String>,
    credentials: bool,
    expose: Option<HeaderValue>,
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
}

impl Cors {
    /// Reads SAM's `CorsConfiguration`; the error says what is wrong with it.
    pub(crate) fn from_template(stated: &Value) -> Result<Self, String> {
        let known = ["AllowCredentials", "AllowHeaders", "AllowMethods", "AllowOrigins", "ExposeHeaders", "MaxAge"];
        if let Some(unknown) =
            stated.as_object().into_iter().flatten().map(|(key, _)| key).find(|key| !known.contains(&key.as_str()))
        {
            return Err(format!("unknown setting: `{unknown}`"));
        }
        let texts = |key: &str| -> Vec<String> {
            stated[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let header = |text: String| HeaderValue::from_str(&text).map_err(|_| format!("not fit for a header: `{text}`"));
        let joined = |key: &str| {
            let texts = texts(key);
            if texts.is_empty() { Ok(None) } else { header(texts.join(",")).map(Some) }
        };
        let origins = texts("AllowOrigins");
        let credentials = stated["AllowCredentials"] == true;
        if credentials && origins.iter().any(|origin| origin == "*") {
            return Err("AllowCredentials and the origin `*` exclude each other".to_owned());
        }
        Ok(Self {
            origins,
            credentials,
            expose: joined("ExposeHeaders")?,
            methods: joined("AllowMethods")?,
            headers: joined("AllowHeaders")?,
            max_age: stated["MaxAge"].as_u64().map(HeaderValue::from),
        })
    }

    /// Whether API Gateway answers this request itself.
    pub(crate) fn is_preflight(method: &Method, request: &HeaderMap) -> bool {
        method == Method::OPTIONS && request.contains_key(ORIGIN) && request.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// The headers of the answer to a preflight; none for an origin that is not allowed.
    pub(crate) fn preflight(&self, request: &HeaderMap) -> HeaderMap {
        let mut answer = HeaderMap::new();
        if let Some(origin) = self.allowed(request) {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            let values = [
                (ACCESS_CONTROL_ALLOW_METHODS, &self.methods),
                (ACCESS_CONTROL_ALLOW_HEADERS, &self.headers),
                (ACCESS_CONTROL_MAX_AGE, &self.max_age),
            ];
            for (name, value) in values {
                answer.extend(value.clone().map(|value| (name, value)));
            }
            self.credentials(&mut answer);
        }
        answer.insert(VARY, HeaderValue::from_static("origin"));
        answer
    }

    /// Puts this API's CORS headers on a response, in place of any the function set: API Gateway ignores those.
    pub(crate) fn apply(&self, request: &HeaderMap, response: &mut HeaderMap) {
        let stray: Vec<HeaderName> =
            response.keys().filter(|name| name.as_str().starts_with("access-control-")).cloned().collect();
        for name in stray {
            response.remove(name);
        }
        response.append(VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = self.allowed(request) {
            response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            response.extend(self.expose.clone().map(|value| (ACCESS_CONTROL_EXPOSE_HEADERS, value)));
            self.credentials(response);
        }
    }

    fn credentials(&self, headers: &mut HeaderMap) {
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }

    /// What to answer to this request's origin: itself, `*`, or nothing.
    fn allowed(&self, request: &HeaderMap) -> Option<HeaderValue> {
        let origin = request.get(ORIGIN)?;
        if self.origins.iter().any(|allowed| allowed == "*") {
            return Some(HeaderValue::from_static("*"));
        }
        let text = origin.to_str().ok()?;
        self.origins.iter().any(|allowed| matches(allowed, text)).then(|| origin.clone())
    }
}

/// An origin as listed, or any origin of a scheme (`https://*`).
fn matches(allowed: &str, origin: &str) -> bool {
    match allowed.strip_suffix("://*") {
        Some(scheme) => origin.split_once("://").is_some_and(|(own, _)| own.eq_ignore_ascii_case(scheme)),
        None => allowed.eq_ignore_ascii_case(origin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cors() -> Cors {
        let stated = json!({
            "AllowOrigins": ["https://portal.example", "http://localhost:5173"],
            "AllowMethods": ["GET", "POST"],
            "AllowHeaders": ["content-type", "x-api-key"],
            "ExposeHeaders": ["age", "x-trace-id"],
            "MaxAge": 600,
        });
        Cors::from_template(&stated).unwrap_or_else(|problem| panic!("{problem}"))
    }

    fn from(origin: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap_or_else(|error| panic!("{error}")));
        headers.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("GET"));
        headers
    }

    #[test]
    fn a_preflight_from_a_listed_origin_gets_the_templates_settings() {
        let answer = cors().preflight(&from("http://localhost:5173"));
        assert_eq!(answer["access-control-allow-origin"], "http://localhost:5173");
        assert_eq!(answer["access-control-allow-methods"], "GET,POST");
        assert_eq!(answer["access-control-allow-headers"], "content-type,x-api-key");
        assert_eq!(answer["access-control-max-age"], "600");
        assert_eq!(answer.get("access-control-allow-credentials"), None);
    }

    #[test]
    fn a_preflight_from_another_origin_gets_nothing() {
        let answer = cors().preflight(&from("https://evil.example"));
        assert!(answer.keys().all(|name| name == VARY));
    }

    #[test]
    fn a_response_exposes_headers_only_to_a_listed_origin() {
        let mut response = HeaderMap::new();
        cors().apply(&from("https://portal.example"), &mut response);
        assert_eq!(response["access-control-expose-headers"], "age,x-trace-id");
        let mut response = HeaderMap::new();
        cors().apply(&from("https://portal.example.evil"), &mut response);
        assert_eq!(response.get("access-control-allow-origin"), None);
        assert_eq!(response.get("access-control-expose-headers"), None);
    }

    #[test]
    fn what_a_function_says_about_cors_is_ignored() {
        let mut response = HeaderMap::new();
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        cors().apply(&HeaderMap::new(), &mut response);
        assert_eq!(response.get("access-control-allow-origin"), None);
    }

    #[test]
    fn wildcards_cover_a_scheme_or_everything() {
        assert!(matches("https://*", "https://a.example") && !matches("https://*", "http://a.example"));
        let all = Cors::from_template(&json!({"AllowOrigins": ["*"]})).unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!(all.preflight(&from("https://a.example"))["access-control-allow-origin"], "*");
    }

    #[test]
    fn credentials_for_everyone_and_unknown_settings_are_refused() {
        assert!(Cors::from_template(&json!({"AllowOrigins": ["*"], "AllowCredentials": true})).is_err());
        assert!(Cors::from_template(&json!({"AllowOrigin": ["*"]})).is_err());
    }

    #[test]
    fn only_options_with_origin_and_wanted_method_is_a_preflight() {
        assert!(Cors::is_preflight(&Method::OPTIONS, &from("https://a")));
        assert!(!Cors::is_preflight(&Method::GET, &from("https://a")));
        assert!(!Cors::is_preflight(&Method::OPTIONS, &HeaderMap::new()));
    }
}
