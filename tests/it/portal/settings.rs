//! `[portal]`: where the page may be, and what it does not start beside.

use figment::Figment;
use figment::providers::{Format as _, Serialized, Toml};
use tidemill::config::Config;

fn read(toml: &str) -> Result<Config, String> {
    let config = Figment::from(Serialized::defaults(Config::default())).merge(Toml::string(toml)).extract::<Config>();
    config.map_err(|e| e.to_string())?.complete().map_err(|e| e.to_string())
}

fn base(toml: &str) -> Result<Option<String>, String> {
    let config = read(toml)?;
    config.portal.base(config.ingress.listen).map(|base| base.map(Into::into)).map_err(|e| e.to_string())
}

#[test]
fn the_page_is_off_unless_it_is_switched_on() {
    assert_eq!(base(""), Ok(None));
    assert_eq!(base("[portal]\npublic_url = 'nonsense'"), Ok(None));
}

#[test]
fn the_public_address_is_https_or_loopback_and_nothing_but_an_origin() {
    let with = |url: &str| base(&format!("[portal]\nenabled = true\npublic_url = '{url}'"));
    for (url, shown) in [
        ("https://hooks.example.com", "https://hooks.example.com/"),
        ("https://hooks.example.com:8443/", "https://hooks.example.com:8443/"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
        ("http://[::1]:8080", "http://[::1]:8080/"),
        ("http://localhost:8080", "http://localhost:8080/"),
    ] {
        assert_eq!(with(url), Ok(Some(shown.to_owned())), "{url}");
    }
    for url in [
        "",
        "hooks.example.com",
        "http://hooks.example.com",
        "http://localhost.example.com",
        "http://10.0.0.1",
        "https://hooks.example.com/path",
        "https://hooks.example.com/?a=b",
        "https://hooks.example.com/#a",
        "https://user@hooks.example.com",
        "ftp://hooks.example.com",
        "data:text/html,x",
    ] {
        let error = with(url).unwrap_err();
        assert!(error.contains("portal.public_url"), "{url}: {error}");
    }
    let local = "[ingress]\nlisten = '127.0.0.1:8080'\n[portal]\nenabled = true";
    assert_eq!(base(local), Ok(Some("http://127.0.0.1:8080/".into())), "on loopback the listener's own will do");
}

#[test]
fn it_does_not_start_where_consumers_could_read_a_private_network_unless_that_is_meant() {
    let toml = "[portal]\nenabled = true\npublic_url = 'https://a.example'\n";
    let private = "[fanout]\nallow_addresses = ['10.1.0.0/16']\n";
    assert!(base(toml).is_ok() && base(private).is_ok());
    let error = base(&format!("{toml}{private}")).unwrap_err();
    assert!(error.contains("portal.private_receivers") && error.contains("fanout.allow_addresses"), "{error}");
    assert!(base(&format!("{toml}private_receivers = true\n{private}")).is_ok());
}

#[test]
fn the_manuals_example_starts() {
    let manual = include_str!("../../../docs/portal.md");
    let example = manual.split("```toml").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(base(example), Ok(Some("https://hooks.example.com/".into())));
    for key in ["link_hours", "max_endpoints", "changes_per_minute", "looks_per_minute", "private_receivers"] {
        assert!(manual.contains(&format!("| `portal.{key}` |")), "{key} is not in the manual");
    }
}

#[test]
fn its_path_and_its_numbers_are_its_own() {
    let toml = "[portal]\nenabled = true\npublic_url = 'https://a.example'\n";
    for path in ["/portal", "/portal/x"] {
        let source = format!("{toml}[ingress.sources.a]\nscheme = 'stripe'\nsecret_env = 'A'\npath = '{path}'");
        let error = base(&source).unwrap_err();
        assert!(error.contains("ingress.sources.a.path"), "{error}");
    }
    for line in [
        "link_hours = 0",
        "link_hours = 169",
        "max_endpoints = 0",
        "changes_per_minute = 0",
        "looks_per_minute = 0",
        "colour = 'red'",
    ] {
        let error = base(&format!("{toml}{line}")).unwrap_err();
        assert!(error.contains(line.split(' ').next().unwrap()), "{line}: {error}");
    }
}
