//! What this machine adds to the template: the values of parameters, extra variables for the functions, and the
//! secrets.
//!
//! Three readable files hold them (`local.toml`, `secrets.json`, the caller's `--secrets` file); this module reads and
//! merges them and invents nothing but the layer's own API key. A name that matches nothing is an error: it is a typing
//! mistake, and silence would hide it.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

/// What can be wrong with the files that describe this machine.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// A file is not there or cannot be read.
    #[error("cannot read `{path}`: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why it could not be read.
        source: std::io::Error,
    },
    /// A file is not what its name says.
    #[error("`{path}` is malformed: {problem}")]
    Malformed {
        /// The file.
        path: String,
        /// The parser's words.
        problem: String,
    },
    /// A secrets file names a secret the template does not have.
    #[error("`{path}` has a value for a secret the template does not have: `{name}`")]
    UnknownSecret {
        /// The file.
        path: String,
        /// The name in the file.
        name: String,
    },
    /// The template has a secret nobody gave a value.
    #[error(
        "no secrets file has a value for `{id}`: add `{suffix}` to infra/xtask/secrets.json or to the file given with --secrets"
    )]
    MissingSecret {
        /// The secret's logical id.
        id: String,
        /// The last part of its name.
        suffix: String,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system: {0}")]
    Random(String),
}

fn read(path: &Path) -> Result<String, LocalError> {
    std::fs::read_to_string(path).map_err(|source| LocalError::Unreadable { path: path.display().to_string(), source })
}

fn malformed(path: &Path, problem: impl ToString) -> LocalError {
    LocalError::Malformed { path: path.display().to_string(), problem: problem.to_string().trim_end().to_owned() }
}

/// The addresses placeholders in `local.toml` stand for.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    /// `http://127.0.0.1:4600`
    pub(crate) sandbox: String,
    /// `4625`, of the sandbox's mail server
    pub(crate) smtp_port: String,
    /// `http://127.0.0.1:4566`
    pub(crate) aws: String,
    /// `http://127.0.0.1:3000`
    pub(crate) api: String,
}

/// `local.toml`, placeholders filled in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    base_url: String,
    /// Values of the template's parameters.
    pub(crate) parameters: BTreeMap<String, String>,
    /// Extra variables of every function.
    pub(crate) environment: BTreeMap<String, String>,
}

impl Settings {
    /// Reads the file and fills in the placeholders.
    pub(crate) fn read(path: &Path, addresses: &Addresses) -> Result<Self, LocalError> {
        Self::parse(&read(path)?, addresses).map_err(|error| malformed(path, error))
    }

    fn parse(text: &str, addresses: &Addresses) -> Result<Self, toml::de::Error> {
        let mut settings: Self = toml::from_str(text)?;
        let values = settings.parameters.values_mut().chain(settings.environment.values_mut());
        for value in values.chain([&mut settings.base_url]) {
            *value = value
                .replace("{sandbox}", &addresses.sandbox)
                .replace("{smtp_port}", &addresses.smtp_port)
                .replace("{aws}", &addresses.aws)
                .replace("{api}", &addresses.api)
                .replace("{architecture}", architecture());
        }
        Ok(settings)
    }

    /// The local value of a template parameter: a stated one, or the sandbox for a provider's base URL.
    pub(crate) fn parameter(&self, name: &str, default: Option<&str>) -> Option<String> {
        let of_provider = || {
            let provider = name.strip_suffix("BaseUrl")?.to_lowercase();
            Some(self.base_url.replace("{provider}", &provider).replace("{path}", path_of(default.unwrap_or_default())))
        };
        self.parameters.get(name).cloned().or_else(of_provider)
    }
}

/// The path of a URL without a slash at its end; empty when it has none.
fn path_of(url: &str) -> &str {
    let after_host = url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|start| &rest[start..]));
    after_host.unwrap_or_default().trim_end_matches('/')
}

/// This host's processor in Lambda's words.
pub(crate) fn architecture() -> &'static str {
    if std::env::consts::ARCH == "aarch64" { "arm64" } else { "x86_64" }
}

/// A secrets file: an object whose keys are logical ids or the last parts of names.
#[derive(Debug)]
struct SecretsFile {
    path: String,
    values: Map<String, Value>,
}

/// The values of all secrets, and the API key that opens the layer.
#[derive(Debug)]
pub(crate) struct Secrets {
    /// The later file wins.
    files: Vec<SecretsFile>,
    /// The key callers present, in clear: it is printed once and stored only as a digest.
    pub(crate) api_key: String,
    own: Value,
}

/// The layer's own secret: the only one that is generated when no file has it.
const OWN: &str = "ieum";

impl Secrets {
    /// Reads the files and makes the layer's own secret, from `api_key` if the caller chose one.
    pub(crate) fn read(paths: &[&Path], api_key: Option<String>) -> Result<Self, LocalError> {
        let mut files = Vec::new();
        for path in paths {
            let values = serde_json::from_str(&read(path)?).map_err(|error| malformed(path, error))?;
            files.push(SecretsFile { path: path.display().to_string(), values });
        }
        let given = files.iter().any(|file| file.values.contains_key(OWN));
        let api_key = match api_key {
            Some(key) => key,
            None if given => String::new(),
            None => format!("ieum_local_{}", hex::encode(random::<24>()?)),
        };
        let own = own_secret(&api_key, &random::<32>()?, OffsetDateTime::now_utc());
        Ok(Self { files, api_key, own })
    }

    /// The value of a secret, found by its logical id or by the last part of its name.
    pub(crate) fn value(&self, id: &str, name: &str) -> Result<&Value, LocalError> {
        let suffix = suffix(name);
        let found = self.files.iter().rev().find_map(|file| file.values.get(id).or_else(|| file.values.get(suffix)));
        match found {
            Some(value) => Ok(value),
            None if suffix == OWN => Ok(&self.own),
            None => Err(LocalError::MissingSecret { id: id.to_owned(), suffix: suffix.to_owned() }),
        }
    }

    /// Refuses files that name a secret which is not among `known` (logical id, name).
    pub(crate) fn all_known(&self, known: &[(String, String)]) -> Result<(), LocalError> {
        for file in &self.files {
            let stray =
                file.values.keys().find(|key| !known.iter().any(|(id, name)| id == *key || suffix(name) == *key));
            if let Some(name) = stray {
                return Err(LocalError::UnknownSecret { path: file.path.clone(), name: name.clone() });
            }
        }
        Ok(())
    }
}

fn suffix(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn own_secret(api_key: &str, cache_key: &[u8], now: OffsetDateTime) -> Value {
    let not_after = (now + Duration::days(365)).format(&Rfc3339).unwrap_or_default();
    json!({
        "api_keys": [{
            "id": "local",
            "label": "cargo up",
            "scopes": ["*"],
            "not_after": not_after,
            "sha256": hex::encode(Sha256::digest(api_key.as_bytes())),
        }],
        "jwt_issuers": [],
        "cache_key": STANDARD.encode(cache_key),
    })
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], LocalError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| LocalError::Random(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        Addresses { sandbox: "http://s".into(), smtp_port: "25".into(), aws: "http://a".into(), api: "http://d".into() }
    }

    fn secrets(files: &[(&str, Value)], key: Option<&str>) -> Secrets {
        let files = files.iter().map(|(path, values)| SecretsFile {
            path: (*path).to_owned(),
            values: values.as_object().cloned().unwrap_or_default(),
        });
        let own = own_secret(key.unwrap_or("k"), &[7; 32], OffsetDateTime::UNIX_EPOCH);
        Secrets { files: files.collect(), api_key: key.unwrap_or("k").to_owned(), own }
    }

    #[test]
    fn placeholders_are_filled_and_a_base_url_leads_to_the_sandbox() {
        let text = "base_url = '{sandbox}/{provider}{path}'\n[parameters]\nA = '{api},{architecture}'\nXBaseUrl = 'u'\n[environment]\nE = '{aws}'";
        let settings = Settings::parse(text, &addresses()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(settings.parameter("A", None), Some(format!("http://d,{}", architecture())));
        assert_eq!(settings.parameter("NiceBaseUrl", Some("https://gate.example")).as_deref(), Some("http://s/nice"));
        assert_eq!(
            settings.parameter("NtsBaseUrl", Some("https://api.example/api/v1")).as_deref(),
            Some("http://s/nts/api/v1")
        );
        assert_eq!(settings.parameter("XBaseUrl", None).as_deref(), Some("u"));
        assert_eq!(settings.parameter("LogLevel", Some("info")), None);
        assert_eq!(settings.environment["E"], "http://a");
    }

    #[test]
    fn an_unknown_table_in_local_toml_is_an_error() {
        assert!(
            Settings::parse("base_url = ''\n[parameters]\n[environment]\n[enviroment]\nA = ''", &addresses()).is_err()
        );
    }

    #[test]
    fn the_callers_file_wins_and_keys_are_logical_ids_or_last_parts_of_names() {
        let secrets = secrets(
            &[("base", json!({"nice": {"a": 1}, "nts": {"b": 1}})), ("own", json!({"NiceSecret": {"a": 2}}))],
            None,
        );
        assert_eq!(secrets.value("NiceSecret", "ieum/local/nice").ok(), Some(&json!({"a": 2})));
        assert_eq!(secrets.value("NtsSecret", "ieum/local/nts").ok(), Some(&json!({"b": 1})));
    }

    #[test]
    fn a_secret_without_a_value_names_itself_and_the_place_to_add_it() {
        let error =
            secrets(&[], None).value("TossSecret", "ieum/local/toss").map(|_| ()).err().map(|error| error.to_string());
        assert!(error.is_some_and(|text| text.contains("`TossSecret`")
            && text.contains("`toss`")
            && text.contains("secrets.json")));
    }

    #[test]
    fn a_value_for_a_secret_the_template_lacks_is_an_error() {
        let secrets = secrets(&[("mine.json", json!({"nise": {}}))], None);
        let error =
            secrets.all_known(&[("NiceSecret".into(), "ieum/local/nice".into())]).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("`mine.json` has a value for a secret the template does not have: `nise`"));
    }

    #[test]
    fn the_layers_own_secret_holds_a_digest_of_the_key_and_expires_in_a_year() {
        let secrets = secrets(&[], Some("abc"));
        let own = secrets.value("IeumSecret", "ieum/local/ieum").ok().cloned().unwrap_or_default();
        assert_eq!(own["api_keys"][0]["sha256"], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(own["api_keys"][0]["not_after"], "1971-01-01T00:00:00Z");
        assert_eq!(own["api_keys"][0]["scopes"], json!(["*"]));
        assert_eq!(own["cache_key"].as_str().map(str::len), Some(44));
    }

    #[test]
    fn a_file_may_bring_the_layers_own_secret() {
        let secrets = secrets(&[("mine", json!({"ieum": {"api_keys": []}}))], None);
        assert_eq!(secrets.value("IeumSecret", "ieum/local/ieum").ok(), Some(&json!({"api_keys": []})));
    }
}
