//! The integrations' configuration, under the variable names that the services it replaces already use.
//!
//! Read once, through a lookup that the caller hands in. An integration without credentials is off (`None`); half of
//! them, or a value that is none, is an error that names the variable. Secrets never show in `Debug`.

use secrecy::SecretString;
use tidemill::sealing::Sealer;
use url::Url;

/// Where 500.farm's exporter is served.
pub const GPU_MARKET_DEFAULT: &str = "https://500.farm/vastai-exporter";
const STRIPE_DEFAULT: &str = "https://api.stripe.com";

/// A variable with a value that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct ConfigError {
    /// Its name.
    pub variable: &'static str,
    /// What is wrong and what is allowed.
    pub problem: String,
}

/// Everything the application needs to reach the outside.
#[derive(Clone, Debug)]
pub struct IntegrationsConfig {
    /// `STRIPE_SECRET_KEY`, `STRIPE_API_URL`; `None`: off.
    pub stripe: Option<StripeConfig>,
    /// `PLAID_CLIENT_ID`, `PLAID_SECRET`, `PLAID_ENV` or `PLAID_API_URL`, `TIDEMILL_DATA_KEY`; `None`: off.
    pub plaid: Option<PlaidConfig>,
    /// `GPU_MARKET_URL`; `None` when it is `off`.
    pub gpu_market: Option<GpuMarketConfig>,
}

/// How to reach Stripe.
#[derive(Clone, Debug)]
pub struct StripeConfig {
    /// `STRIPE_API_URL`, default `https://api.stripe.com`.
    pub base: Url,
    /// `STRIPE_SECRET_KEY`.
    pub key: SecretString,
}

/// How to reach Plaid, and how to keep its access tokens.
#[derive(Clone, Debug)]
pub struct PlaidConfig {
    /// `PLAID_API_URL`, or what `PLAID_ENV` stands for.
    pub base: Url,
    /// `PLAID_CLIENT_ID`.
    pub client_id: SecretString,
    /// `PLAID_SECRET`.
    pub secret: SecretString,
    /// `TIDEMILL_DATA_KEY`, and `TIDEMILL_DATA_KEY_PREVIOUS` (comma separated) for what older keys have sealed.
    pub sealer: Sealer,
}

/// How to reach the GPU market.
#[derive(Clone, Debug)]
pub struct GpuMarketConfig {
    /// `GPU_MARKET_URL`, default [`GPU_MARKET_DEFAULT`].
    pub base: Url,
}

impl IntegrationsConfig {
    /// Reads all of it; `lookup` gives a variable's value.
    ///
    /// # Errors
    /// On the first variable that is missing though its siblings are set, or has a bad value.
    pub fn read(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        // An empty variable counts as not set: that is what `FOO=` in an env file means.
        let get = |name: &str| lookup(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        Ok(Self { stripe: stripe(&get)?, plaid: plaid(&get)?, gpu_market: gpu_market(&get)? })
    }
}

type Get<'a> = dyn Fn(&str) -> Option<String> + 'a;

fn stripe(get: &Get<'_>) -> Result<Option<StripeConfig>, ConfigError> {
    let base = base_url("STRIPE_API_URL", get("STRIPE_API_URL").as_deref().unwrap_or(STRIPE_DEFAULT))?;
    let Some(key) = get("STRIPE_SECRET_KEY") else { return Ok(None) };
    if !key.starts_with("sk_") && !key.starts_with("rk_") {
        let problem = "not a secret key: it starts with `sk_` or `rk_`";
        return Err(ConfigError { variable: "STRIPE_SECRET_KEY", problem: problem.to_owned() });
    }
    Ok(Some(StripeConfig { base, key: key.into() }))
}

fn plaid(get: &Get<'_>) -> Result<Option<PlaidConfig>, ConfigError> {
    let base = match (get("PLAID_API_URL"), get("PLAID_ENV").as_deref()) {
        (Some(url), _) => base_url("PLAID_API_URL", &url)?,
        (None, None | Some("sandbox")) => base_url("PLAID_ENV", "https://sandbox.plaid.com")?,
        (None, Some("production")) => base_url("PLAID_ENV", "https://production.plaid.com")?,
        (None, Some(other)) => {
            let problem = format!("`{other}` is not an environment of Plaid; allowed: sandbox, production");
            return Err(ConfigError { variable: "PLAID_ENV", problem });
        }
    };
    let (client_id, secret) = match (get("PLAID_CLIENT_ID"), get("PLAID_SECRET")) {
        (None, None) => return Ok(None),
        (Some(id), Some(secret)) => (id, secret),
        (Some(_), None) => return Err(missing("PLAID_SECRET", "PLAID_CLIENT_ID is set")),
        (None, Some(_)) => return Err(missing("PLAID_CLIENT_ID", "PLAID_SECRET is set")),
    };
    let sealer = sealer(get)?;
    Ok(Some(PlaidConfig { base, client_id: client_id.into(), secret: secret.into(), sealer }))
}

fn sealer(get: &Get<'_>) -> Result<Sealer, ConfigError> {
    let current: SecretString = get("TIDEMILL_DATA_KEY")
        .ok_or_else(|| missing("TIDEMILL_DATA_KEY", "Plaid is configured and its access tokens are kept sealed"))?
        .into();
    let bad = |variable| move |e: tidemill::sealing::SealError| ConfigError { variable, problem: e.to_string() };
    Sealer::new(&current, &[]).map_err(bad("TIDEMILL_DATA_KEY"))?;
    let previous = get("TIDEMILL_DATA_KEY_PREVIOUS").unwrap_or_default();
    let previous: Vec<SecretString> =
        previous.split(',').map(str::trim).filter(|k| !k.is_empty()).map(SecretString::from).collect();
    Sealer::new(&current, &previous).map_err(bad("TIDEMILL_DATA_KEY_PREVIOUS"))
}

fn gpu_market(get: &Get<'_>) -> Result<Option<GpuMarketConfig>, ConfigError> {
    let url = get("GPU_MARKET_URL").unwrap_or_else(|| GPU_MARKET_DEFAULT.to_owned());
    if url == "off" {
        return Ok(None);
    }
    Ok(Some(GpuMarketConfig { base: base_url("GPU_MARKET_URL", &url)? }))
}

fn missing(variable: &'static str, because: &str) -> ConfigError {
    ConfigError { variable, problem: format!("not set, though {because}") }
}

fn base_url(variable: &'static str, text: &str) -> Result<Url, ConfigError> {
    let bad = |why: &str| {
        // A URL may carry a password; only its beginning up to the host would be safe, so none of it is shown.
        ConfigError { variable, problem: format!("not a base address like https://api.example.com: {why}") }
    };
    let mut url = Url::parse(text).map_err(|e| bad(&e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad("it must begin with http:// or https:// and name a host"));
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err(bad("no query, fragment or credentials are allowed in it"));
    }
    // Joining relative paths drops what follows the last slash.
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn read(vars: &[(&str, &str)]) -> Result<IntegrationsConfig, ConfigError> {
        IntegrationsConfig::read(&|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn without_credentials_an_integration_is_off_and_the_free_one_is_on() {
        let config = read(&[("STRIPE_SECRET_KEY", " ")]).unwrap();
        assert!(config.stripe.is_none() && config.plaid.is_none());
        assert_eq!(config.gpu_market.unwrap().base.as_str(), "https://500.farm/vastai-exporter/");
        assert!(read(&[("GPU_MARKET_URL", "off")]).unwrap().gpu_market.is_none());
    }

    #[test]
    fn a_full_configuration_is_read_and_shows_no_secret() {
        let config = read(&[
            ("STRIPE_SECRET_KEY", "sk_test_hush"),
            ("PLAID_CLIENT_ID", "client-hush"),
            ("PLAID_SECRET", "secret-hush"),
            ("PLAID_ENV", "production"),
            ("TIDEMILL_DATA_KEY", KEY),
        ])
        .unwrap();
        assert_eq!(config.plaid.as_ref().unwrap().base.as_str(), "https://production.plaid.com/");
        let shown = format!("{config:?}");
        assert!(!shown.contains("hush") && !shown.contains(KEY), "{shown}");
    }

    #[test]
    fn each_bad_value_is_named_by_its_variable() {
        let plaid = [("PLAID_CLIENT_ID", "c"), ("PLAID_SECRET", "s")];
        let with = |extra: &[(&'static str, &'static str)]| read(&[&plaid[..], extra].concat()).unwrap_err().variable;
        assert_eq!(with(&[]), "TIDEMILL_DATA_KEY");
        assert_eq!(with(&[("TIDEMILL_DATA_KEY", "short")]), "TIDEMILL_DATA_KEY");
        assert_eq!(with(&[("PLAID_ENV", "development")]), "PLAID_ENV");
        assert_eq!(
            with(&[("TIDEMILL_DATA_KEY", KEY), ("TIDEMILL_DATA_KEY_PREVIOUS", "x,y")]),
            "TIDEMILL_DATA_KEY_PREVIOUS"
        );
        assert_eq!(read(&plaid[..1]).unwrap_err().variable, "PLAID_SECRET");
        assert_eq!(read(&plaid[1..]).unwrap_err().variable, "PLAID_CLIENT_ID");
        assert_eq!(read(&[("STRIPE_SECRET_KEY", "pk_test_1")]).unwrap_err().variable, "STRIPE_SECRET_KEY");
        for url in ["ftp://x", "nonsense", "https://u:p@x", "https://x?y=1"] {
            assert_eq!(read(&[("GPU_MARKET_URL", url)]).unwrap_err().variable, "GPU_MARKET_URL");
        }
    }
}
