//! The consumers' page where it is served: beside the webhooks on the public listener, or not at all.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tidemill::admin::May;
use tidemill::clock::{Clock, Entropy};
use tidemill::config::Config;
use tidemill::portal::NewLink;
use tidemill::{outbound, telemetry};
use tidemill_jobs::service::{Role, Service};
use tidemill_jobs::wiring::Wiring;

fn config(folder: &Path, enabled: bool) -> Config {
    let mut config = Config { data_dir: folder.to_owned(), ..Config::default() };
    config.ingress.listen = "127.0.0.1:0".parse().unwrap();
    config.portal.enabled = enabled;
    config.complete().unwrap()
}

async fn start(config: &Config, recorder: &telemetry::Recorder) -> Service {
    let lookup = |name: &str| (name == "GPU_MARKET_URL").then(|| "off".to_owned());
    let wiring = Wiring::open(config, &lookup, Clock::system(), Entropy::system()).await.unwrap();
    wiring.declare(config, &lookup).await.unwrap();
    Service::start(wiring, config, &BTreeSet::from([Role::Ingress]), &lookup, recorder.clone()).await.unwrap()
}

#[tokio::test]
async fn the_page_is_served_beside_the_webhooks_where_it_is_on_and_nowhere_else() {
    let (folder, recorder) = (tempfile::tempdir().unwrap(), telemetry::collect().unwrap());
    let client = outbound::client(Duration::from_secs(10)).unwrap();
    let get = async |url: &str, cookie: &str| client.get(url).header("cookie", cookie).send().await.unwrap();
    let new = NewLink { tenant: "acme".into(), ..NewLink::default() };

    let service = start(&config(folder.path(), true), &recorder).await;
    let public = format!("http://{}", service.public.unwrap());
    let made = service.wiring.desk().make_portal_link(&May::local("mia"), &new).await.unwrap();
    let link = made.url.expose_secret();
    assert!(link.starts_with(&format!("{public}/portal/open/")), "it leads to where the listener really is: {link}");
    let opened = get(link, "").await;
    assert_eq!((opened.status().as_u16(), &opened.headers()["location"]), (303, &"/portal".parse().unwrap()));
    let cookie = opened.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let page = get(&format!("{public}/portal"), &cookie).await;
    assert_eq!((page.status().as_u16(), &page.headers()["x-frame-options"]), (200, &"DENY".parse().unwrap()));
    assert!(page.text().await.unwrap().contains("No endpoints yet."));
    assert_eq!(get(&format!("{public}/portal"), "").await.status(), 403);
    assert_eq!(get(&format!("{public}/health"), "").await.status(), 200);
    let unknown = get(&format!("{public}/portals"), &cookie).await;
    assert_eq!(unknown.headers()["content-type"], "application/problem+json", "the listener's own answer");
    service.stop().await.unwrap();

    let service = start(&config(folder.path(), false), &recorder).await;
    let public = format!("http://{}", service.public.unwrap());
    for path in ["/portal", link.strip_prefix(&made_at(link)).unwrap()] {
        assert_eq!(get(&format!("{public}{path}"), &cookie).await.status(), 404, "{path}");
    }
    let refused = service.wiring.desk().make_portal_link(&May::local("mia"), &new).await.unwrap_err();
    assert!(refused.to_string().contains("portal.enabled"), "{refused}");
    service.stop().await.unwrap();
}

/// What stands before the path.
fn made_at(link: &str) -> String {
    link.split_once("/portal").map(|(before, _)| before.to_owned()).unwrap()
}
