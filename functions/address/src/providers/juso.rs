//! Juso (도로명주소), the address register of the interior ministry: search in Korean and English, coordinates.
//!
//! Source: <https://business.juso.go.kr/addrlink/openApi/searchApi.do> and data.go.kr 15057017; what they leave open was
//! seen in public client code. Traps handled here, each with a test:
//!
//! - every error comes as HTTP 200, with a code in the body and no list;
//! - each of the three interfaces has a key of its own;
//! - E0001 (key not approved) has been seen for good keys under load: one more try is worth it, never two;
//! - no more than 9,000 addresses can be paged through, whatever the total says (see `MAX_DEPTH`);
//! - numbers are texts, and "nothing" is an empty text;
//! - coordinates are UTM-K.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use http::{HeaderValue, Method, header};
use ieum::http::{HttpClient, Incoming, Outgoing};
use ieum::provider::{Probe, ProbeKind, Provider, ProviderError};
use ieum::secrets::{ExposeSecret, Secret, SecretShape, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;
use url::form_urlencoded::Serializer;

use crate::address::{
    Address, AddressPage, AddressQuery, BuildingNumber, Codes, Located, MatchQuality, Region, Site, code,
};
use crate::keyword::Refusal;
use crate::sido;
use crate::utm_k;

/// The secret of this provider family.
#[derive(Debug, Deserialize)]
pub struct JusoSecret {
    search_key: SecretString,
    english_key: SecretString,
    coordinate_key: SecretString,
}

impl SecretShape for JusoSecret {
    const MEMBERS: &'static [&'static str] = &["search_key", "english_key", "coordinate_key"];
}

/// The client.
#[derive(Clone, Debug)]
pub struct Juso(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    base_url: Url,
    http: HttpClient,
    secret: Arc<Secret<JusoSecret>>,
    /// Whether a refusal of our keys would be the first since they were good.
    trusted: AtomicBool,
}

#[derive(Deserialize)]
struct Envelope<R> {
    results: Results<R>,
}

#[derive(Deserialize)]
struct Results<R> {
    common: Common,
    juso: Option<Vec<R>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Common {
    error_code: String,
    total_count: Option<String>,
}

/// What a readable answer says.
#[derive(Debug)]
enum Reading<R> {
    Rows(Vec<R>, u64),
    Refused(Refusal),
}

/// A row of `addrLinkApi.do`; what we do not use is left out.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Row {
    road_addr_part1: Text,
    road_addr_part2: Text,
    jibun_addr: Text,
    eng_addr: Text,
    zip_no: Text,
    adm_cd: Text,
    rn_mgt_sn: Text,
    bd_mgt_sn: Text,
    bd_nm: Text,
    bd_kdcd: Text,
    si_nm: Text,
    sgg_nm: Text,
    emd_nm: Text,
    li_nm: Text,
    rn: Text,
    udrt_yn: Text,
    buld_mnnm: Text,
    buld_slno: Text,
}

/// A row of `addrEngApi.do`: the names are English, and the Korean address is one line.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EnglishRow {
    road_addr: Text,
    kor_addr: Text,
    zip_no: Text,
    adm_cd: Text,
    rn_mgt_sn: Text,
    bd_kdcd: Text,
    udrt_yn: Text,
    buld_mnnm: Text,
    buld_slno: Text,
}

/// A row of `addrCoordApi.do`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CoordinateRow {
    ent_x: String,
    ent_y: String,
}

/// A text that says "nothing" by being empty, null or absent.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
struct Text(Option<String>);

impl Text {
    fn get(&self) -> Option<String> {
        self.0.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    fn code(&self, length: usize) -> Option<String> {
        code(&self.get()?, length)
    }

    fn is_one(&self) -> bool {
        self.get().as_deref() == Some("1")
    }

    fn number(&self) -> Option<u32> {
        self.get()?.parse().ok()
    }
}

impl Juso {
    /// A client of the register at `base_url`.
    pub fn new(base_url: Url, http: HttpClient, secret: Arc<Secret<JusoSecret>>) -> Self {
        Self(Arc::new(Inner { base_url, http, secret, trusted: AtomicBool::new(true) }))
    }

    /// One exchange. The key travels in the body, where no proxy writes it down.
    async fn ask<R: DeserializeOwned>(
        &self,
        endpoint: &str,
        key: fn(&JusoSecret) -> &SecretString,
        parameters: &[(&str, &str)],
    ) -> Result<Reading<R>, ProviderError> {
        let secret = self.0.secret.current().await;
        let form = Serializer::new(String::new())
            .append_pair("confmKey", key(&secret).expose_secret())
            .append_pair("resultType", "json")
            .extend_pairs(parameters)
            .finish();
        let url = format!("{}/addrlink/{endpoint}", self.0.base_url.as_str().trim_end_matches('/'));
        let url = Url::parse(&url).map_err(|error| ProviderError::Malformed(Box::new(error)))?;
        let mut outgoing = Outgoing { method: Method::POST, body: form.into(), ..Outgoing::get(url) };
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
        outgoing.headers.insert(header::CONTENT_TYPE, form_type);
        let answer = self.0.http.exchange(outgoing).await?;
        match read(&answer) {
            Err(ProviderError::Unauthorized) if self.0.secret.refused(&secret).await => {
                Err(ProviderError::CredentialsReplaced)
            }
            Err(ProviderError::Unauthorized) if self.0.trusted.swap(false, Ordering::Relaxed) => {
                Err(ProviderError::Unavailable { status: 503 })
            }
            Ok(reading) => {
                self.0.trusted.store(true, Ordering::Relaxed);
                Ok(reading)
            }
            Err(error) => Err(error),
        }
    }

    async fn search(&self, query: &AddressQuery) -> Result<AddressPage, ProviderError> {
        let (page, size) = (query.page.to_string(), query.size.to_string());
        let parameters = [("keyword", query.keyword.as_str()), ("currentPage", &page), ("countPerPage", &size)];
        if query.keyword.is_korean() {
            let reading = self.ask("addrLinkApi.do", |secret| &secret.search_key, &parameters).await?;
            Ok(page_of(reading, |row: &Row| row.address()))
        } else {
            let reading = self.ask("addrEngApi.do", |secret| &secret.english_key, &parameters).await?;
            Ok(page_of(reading, |row: &EnglishRow| row.address()))
        }
    }

    async fn locate(&self, site: &Site) -> Result<Located, ProviderError> {
        let (main, sub) = (site.number.main.to_string(), site.number.sub.to_string());
        let parameters = [
            ("admCd", site.legal_dong.as_str()),
            ("rnMgtSn", &site.road),
            ("udrtYn", if site.number.underground { "1" } else { "0" }),
            ("buldMnnm", &main),
            ("buldSlno", &sub),
        ];
        let reading = self.ask("addrCoordApi.do", |secret| &secret.coordinate_key, &parameters).await?;
        let Reading::Rows(rows, _) = reading else { return Ok(Located { point: None }) };
        let Some(CoordinateRow { ent_x, ent_y }) = rows.first() else { return Ok(Located { point: None }) };
        let metres = |text: &str| text.trim().parse::<f64>().map_err(|_| nonsense("a coordinate is not a number"));
        let point = utm_k::to_wgs84(metres(ent_x)?, metres(ent_y)?);
        let point = point.map_err(|error| ProviderError::Malformed(Box::new(error)))?;
        Ok(Located { point: Some(point) })
    }
}

fn page_of<R>(reading: Reading<R>, address: fn(&R) -> Address) -> AddressPage {
    match reading {
        Reading::Rows(rows, total) => AddressPage::of(rows.iter().map(address), total),
        Reading::Refused(refusal) => AddressPage::refused(refusal),
    }
}

/// The rows of a good answer; everything else the register can say, in our terms.
fn read<R: DeserializeOwned>(answer: &Incoming) -> Result<Reading<R>, ProviderError> {
    match answer.failure() {
        None => {}
        // The register refuses with HTTP 200 only: this is somebody before it.
        Some(ProviderError::Rejected { code }) => return Err(nonsense(&format!("no envelope but {code}"))),
        Some(error) => return Err(error),
    }
    let Envelope { results: Results { common, juso } } = answer.json()?;
    let refusal = match common.error_code.as_str() {
        "0" => {
            let total = common.total_count.as_deref().unwrap_or("0").trim().parse();
            let total = total.map_err(|_| nonsense("the total is not a number"))?;
            return Ok(Reading::Rows(juso.unwrap_or_default(), total));
        }
        "-999" => return Err(ProviderError::Unavailable { status: 502 }),
        // Not approved; a key for development that has expired.
        "E0001" | "E0014" => return Err(ProviderError::Unauthorized),
        "E0005" => Refusal::Empty,
        "E0006" => Refusal::TooBroad,
        "E0008" => Refusal::TooShort,
        "E0009" | "E0012" => Refusal::NoLetters,
        "E0010" => Refusal::TooLong,
        "E0011" => Refusal::LongNumber,
        "E0013" => Refusal::NotSearchable,
        "E0015" => Refusal::TooDeep,
        _ => return Err(nonsense("the register answered a code that is in no list")),
    };
    Ok(Reading::Refused(refusal))
}

impl Row {
    /// Without the building's name, which the register puts at its end and nobody else does.
    fn lot_address(&self) -> Option<String> {
        let (address, name) = (self.jibun_addr.get()?, self.bd_nm.get().unwrap_or_default());
        let lot = address.strip_suffix(&name).filter(|lot| lot.ends_with(' ')).map_or(address.as_str(), str::trim_end);
        Some(sido::written_out(lot))
    }

    fn address(&self) -> Address {
        let codes = Codes {
            legal_dong: self.adm_cd.code(10),
            administrative_dong: None,
            sigungu: self.adm_cd.code(10).map(|code| code[..5].to_owned()),
            road: self.rn_mgt_sn.code(12),
            building: self.bd_mgt_sn.code(25),
        };
        let region = Region {
            sido: self.si_nm.get().map(|name| sido::written_out(&name)),
            sigungu: self.sgg_nm.get(),
            eupmyeondong: self.emd_nm.get(),
            ri: self.li_nm.get(),
            road: self.rn.get(),
        };
        Address {
            postal_code: self.zip_no.code(5),
            road_address: self.road_addr_part1.get().map(|address| sido::written_out(&address)),
            lot_address: self.lot_address(),
            extra: self.road_addr_part2.get(),
            detail: None,
            building_name: self.bd_nm.get(),
            apartment: self.bd_kdcd.get().map(|_| self.bd_kdcd.is_one()),
            english_address: self.eng_addr.get(),
            building_number: building_number(&self.udrt_yn, &self.buld_mnnm, &self.buld_slno),
            region,
            codes,
            coordinates: None,
            match_quality: Some(MatchQuality::Building),
        }
    }
}

impl EnglishRow {
    fn address(&self) -> Address {
        let road_address = self.kor_addr.get().map(|address| sido::written_out(&address));
        let sido = road_address.as_deref().and_then(|address| sido::full_name(address.split(' ').next()?));
        Address {
            postal_code: self.zip_no.code(5),
            road_address,
            apartment: self.bd_kdcd.get().map(|_| self.bd_kdcd.is_one()),
            english_address: self.road_addr.get(),
            building_number: building_number(&self.udrt_yn, &self.buld_mnnm, &self.buld_slno),
            region: Region { sido: sido.map(str::to_owned), ..Region::default() },
            codes: Codes {
                legal_dong: self.adm_cd.code(10),
                sigungu: self.adm_cd.code(10).map(|code| code[..5].to_owned()),
                road: self.rn_mgt_sn.code(12),
                ..Codes::default()
            },
            match_quality: Some(MatchQuality::Building),
            ..Address::default()
        }
    }
}

fn building_number(underground: &Text, main: &Text, sub: &Text) -> Option<BuildingNumber> {
    Some(BuildingNumber {
        underground: underground.is_one(),
        main: main.number()?,
        sub: sub.number().unwrap_or_default(),
    })
}

#[async_trait]
impl Provider<AddressQuery, AddressPage> for Juso {
    fn name(&self) -> &'static str {
        "juso"
    }

    async fn call(&self, query: &AddressQuery) -> Result<AddressPage, ProviderError> {
        self.search(query).await
    }
}

#[async_trait]
impl Provider<Site, Located> for Juso {
    fn name(&self) -> &'static str {
        "juso"
    }

    async fn call(&self, site: &Site) -> Result<Located, ProviderError> {
        self.locate(site).await
    }
}

/// Nothing is known to be free of charge against a quota, so health is a matter of reaching the host.
#[async_trait]
impl Probe for Juso {
    fn kind(&self) -> ProbeKind {
        ProbeKind::Reach
    }

    async fn probe(&self) -> Result<(), ProviderError> {
        self.0.http.reach(&self.0.base_url).await
    }
}

fn nonsense(why: &str) -> ProviderError {
    ProviderError::Malformed(why.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: &[u8]) -> Incoming {
        Incoming {
            status: http::StatusCode::from_u16(status).unwrap(),
            headers: http::HeaderMap::new(),
            body: body.to_vec().into(),
        }
    }

    fn coded(code: &str) -> Result<Reading<Row>, ProviderError> {
        let body =
            json!({"results": {"common": {"errorCode": code, "errorMessage": "…", "totalCount": "0"}, "juso": null}});
        read(&answer(200, body.to_string().as_bytes()))
    }

    #[test]
    fn every_code_is_read_as_what_it_means() {
        for (code, refusal) in [
            ("E0005", Refusal::Empty),
            ("E0006", Refusal::TooBroad),
            ("E0008", Refusal::TooShort),
            ("E0009", Refusal::NoLetters),
            ("E0010", Refusal::TooLong),
            ("E0011", Refusal::LongNumber),
            ("E0012", Refusal::NoLetters),
            ("E0013", Refusal::NotSearchable),
            ("E0015", Refusal::TooDeep),
        ] {
            assert!(matches!(coded(code), Ok(Reading::Refused(read)) if read == refusal), "{code}");
        }
        for (code, label) in [
            ("-999", "unavailable"),
            ("E0001", "unauthorized"),
            ("E0014", "unauthorized"),
            ("E0002", "malformed"),
            ("", "malformed"),
        ] {
            assert_eq!(coded(code).unwrap_err().label(), label, "{code}");
        }
        assert!(matches!(coded("0"), Ok(Reading::Rows(rows, 0)) if rows.is_empty()));
    }

    #[test]
    fn what_is_no_envelope_is_no_answer() {
        let label = |status, body: &str| read::<Row>(&answer(status, body.as_bytes())).unwrap_err().label();
        assert_eq!(label(200, "<html>"), "malformed");
        assert_eq!(label(200, r#"{"results":{}}"#), "malformed");
        assert_eq!(label(404, ""), "malformed");
        assert_eq!(label(429, ""), "throttled");
        assert_eq!(label(503, ""), "unavailable");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(body in prop::collection::vec(any::<u8>(), 0..200), text in ".{0,30}") {
            let _ = read::<Row>(&answer(200, &body));
            let row = json!({"roadAddrPart1": text, "admCd": text, "zipNo": text, "buldMnnm": text, "siNm": text});
            let envelope = json!({"results": {"common": {"errorCode": "0", "totalCount": "1"}, "juso": [row]}});
            let reading = read::<Row>(&answer(200, envelope.to_string().as_bytes()));
            let page = page_of(reading.map_err(|error| TestCaseError::fail(error.to_string()))?, Row::address);
            prop_assert_eq!(page.addresses.len(), 1);
        }
    }
}
