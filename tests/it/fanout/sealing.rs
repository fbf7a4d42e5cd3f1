//! Secrets at rest: sealed, brought under another key, and unreadable without it.

use tidemill::fanout::endpoints::{self, EndpointError, NewEndpoint, Rotation};
use tidemill::fanout::{Reseal, Scheme, check_keys, is_sealed, reseal};
use tidemill::on_pool;
use tidemill::sealing::{SealError, Sealer};

use super::receiver::{Receiver, status};
use super::stage::{Stage, config, key, sealer, turn};

const PLAIN: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn texts(stage: &Stage) -> Vec<(Option<String>, Option<Vec<u8>>)> {
    on_pool!(stage.state.db().read(), pool => {
        sqlx::query_as("select secret, sealed from endpoint_secrets").fetch_all(pool).await.unwrap()
    })
}

#[tokio::test]
async fn a_kept_secret_is_not_readable_in_its_row_and_not_in_another() {
    let stage = Stage::new().await;
    let one = stage.endpoint("http://127.0.0.1:9/", &["*"]).await;
    let other = stage.endpoint("http://127.0.0.1:9/", &["*"]).await;
    for (plain, sealed) in texts(&stage).await {
        assert_eq!(plain, None);
        assert!(!sealed.unwrap().windows(6).any(|w| w == b"whsec_"));
    }
    assert_eq!(endpoints::current_secret(&stage.state, &one.endpoint.id).await.unwrap().reveal(), one.secret.reveal());

    on_pool!(stage.state.db().write(), pool => {
        sqlx::query(
            "update endpoint_secrets set sealed = (select sealed from endpoint_secrets where endpoint_id = $1)
             where endpoint_id = $2",
        )
        .bind(&one.endpoint.id)
        .bind(&other.endpoint.id)
        .execute(pool)
        .await
        .unwrap();
    });
    let moved = endpoints::current_secret(&stage.state, &other.endpoint.id).await.unwrap_err();
    assert!(matches!(moved, EndpointError::Sealed { source: SealError::Broken, .. }), "{moved}");
}

#[tokio::test]
async fn secrets_from_before_are_sealed_sign_as_before_and_leave_no_trace() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(200)]).await);
    let (_, job) = stage.one_delivery(&receiver.url()).await;
    on_pool!(stage.state.db().write(), pool => {
        sqlx::query("update endpoint_secrets set secret = $1, key_id = null, sealed = null")
            .bind(PLAIN)
            .execute(pool)
            .await
            .unwrap();
    });
    assert!(!is_sealed(stage.state.db()).await.unwrap());
    assert_eq!(reseal(&stage.state, Reseal::Plain).await.unwrap(), 1);
    assert_eq!(reseal(&stage.state, Reseal::Plain).await.unwrap(), 0);
    stage.deliver(&job, turn(1)).await.unwrap();
    assert_eq!(receiver.seen().remove(0).verified_by(PLAIN), [0]);
    for name in ["data.db", "data.db-wal"] {
        let bytes = std::fs::read(stage.folder().join(name)).unwrap_or_default();
        assert!(!bytes.windows(PLAIN.len()).any(|w| w == PLAIN.as_bytes()), "{name} still holds the secret");
    }
}

#[tokio::test]
async fn under_another_key_everything_signs_as_before_and_the_old_key_can_go() {
    let stage = Stage::new().await;
    let made = stage.endpoint("http://127.0.0.1:9/", &["*"]).await;
    let id = &made.endpoint.id;
    let both = stage.sealed_by(config(), Sealer::new(&key(2), &[key(1)]).unwrap());
    assert_eq!(reseal(&both, Reseal::Plain).await.unwrap(), 0, "only asked for, not at each start");
    assert_eq!(reseal(&both, Reseal::All).await.unwrap(), 1);
    assert_eq!(reseal(&both, Reseal::All).await.unwrap(), 0);

    let new = stage.sealed_by(config(), sealer(2));
    check_keys(&new).await.unwrap();
    assert_eq!(endpoints::current_secret(&new, id).await.unwrap().reveal(), made.secret.reveal());
    let error = check_keys(&stage.state).await.unwrap_err();
    assert!(
        matches!(&error, EndpointError::Sealed { source: SealError::UnknownKey(k), .. } if k == sealer(2).current_key())
    );
}

#[tokio::test]
async fn without_a_key_nothing_is_kept_and_nothing_is_sent() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(200)]).await);
    let keyless = stage.sealed_by(config(), None);
    check_keys(&keyless).await.unwrap();
    let new = NewEndpoint {
        tenant: "acme".into(),
        url: receiver.url(),
        event_types: vec!["*".into()],
        ..NewEndpoint::default()
    };
    let error = endpoints::create(&keyless, new).await.unwrap_err();
    assert!(matches!(error, EndpointError::Sealed { source: SealError::NoKey, .. }), "{error}");

    let (_, job) = stage.one_delivery(&receiver.url()).await;
    assert!(check_keys(&keyless).await.is_err());
    let stop = tokio_util::sync::CancellationToken::new();
    tidemill::fanout::deliver(&keyless, &stage.queue, &job, turn(1), None, &stop).await.unwrap_err();
    assert!(receiver.seen().is_empty());
}

#[tokio::test]
async fn a_rotation_keeps_the_scheme_unless_another_is_asked_for_and_may_end_the_old_ones_at_once() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(500)]).await);
    let (created, job) = stage.one_delivery(&receiver.url()).await;
    let id = &created.endpoint.id;
    let asked = Rotation { scheme: Some(Scheme::V1a), ..Rotation::default() };
    let pair = endpoints::rotate_secret(&stage.state, id, asked).await.unwrap();
    stage.deliver(&job, turn(1)).await.unwrap_err();
    let list = receiver.seen()[0].header("webhook-signature").to_owned();
    let words: Vec<_> = list.split(' ').map(|one| one.split(',').next().unwrap()).collect();
    assert_eq!((words, pair.scheme()), (vec!["v1a", "v1"], Scheme::V1a));

    let at_once = Rotation { overlap: Some(std::time::Duration::ZERO), ..Rotation::default() };
    let next = endpoints::rotate_secret(&stage.state, id, at_once).await.unwrap();
    assert_eq!(next.scheme(), Scheme::V1a);
    let on_file = endpoints::secrets(&stage.state, id).await.unwrap();
    assert_eq!((on_file.len(), on_file[0].public_key.as_deref()), (1, Some(next.handed_out())));
    let too_long = Rotation { overlap: Some(std::time::Duration::from_secs(604_801)), ..Rotation::default() };
    assert!(matches!(
        endpoints::rotate_secret(&stage.state, id, too_long).await,
        Err(EndpointError::Invalid { field: "overlap_seconds", .. })
    ));
}

async fn with_header(stage: &Stage, url: &str) -> endpoints::Created {
    let headers = [("Authorization".to_owned(), "Bearer t0ken".to_owned())].into();
    let event_types = vec!["*".into()];
    let new = NewEndpoint { tenant: "acme".into(), url: url.into(), event_types, headers, ..NewEndpoint::default() };
    endpoints::create(&stage.state, new).await.unwrap()
}

#[tokio::test]
async fn a_static_header_is_not_readable_in_its_row_and_not_in_another() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(200)]).await);
    let (made, job) = stage.one_delivery(&receiver.url()).await;
    let id = &made.endpoint.id;
    let other = with_header(&stage, "http://127.0.0.1:9/").await.endpoint;
    assert_eq!(other.headers["Authorization"], "…");
    let headers = Some([("X-Key".to_owned(), "s3cret".to_owned())].into());
    let change = endpoints::EndpointChange { headers, ..endpoints::EndpointChange::default() };
    let changed = endpoints::update(&stage.state, id, change).await.unwrap();
    assert_eq!(changed.headers["X-Key"], "…");
    for name in ["data.db", "data.db-wal"] {
        let bytes = std::fs::read(stage.folder().join(name)).unwrap_or_default();
        for text in ["t0ken", "s3cret"] {
            assert!(!bytes.windows(text.len()).any(|w| w == text.as_bytes()), "{name} holds {text}");
        }
    }
    stage.deliver(&job, turn(1)).await.unwrap();
    assert_eq!(receiver.seen()[0].header("x-key"), "s3cret");

    on_pool!(stage.state.db().write(), pool => {
        sqlx::query(
            "update endpoints set headers_sealed = (select headers_sealed from endpoints where id = $1) where id = $2",
        )
        .bind(&other.id)
        .bind(id)
        .execute(pool)
        .await
        .unwrap();
    });
    let job = stage.another(id).await;
    let error = format!("{:?}", stage.deliver(&job, turn(1)).await.unwrap_err());
    assert!(error.contains(&format!("headers of {id}")) && error.contains("does not open"), "{error}");
    assert_eq!(receiver.seen().len(), 1, "and nothing is sent without them");
}

#[tokio::test]
async fn headers_from_before_are_sent_and_sealed_and_follow_the_key() {
    let (stage, receiver) = (Stage::new().await, Receiver::start(vec![status(200); 3]).await);
    let made = with_header(&stage, &receiver.url()).await;
    on_pool!(stage.state.db().write(), pool => {
        sqlx::query("update endpoints set headers = $1, headers_key = null, headers_sealed = null")
            .bind(r#"{"Authorization":"Bearer 0ld"}"#)
            .execute(pool)
            .await
            .unwrap();
    });
    let sent = async |state: &tidemill::fanout::FanoutState| {
        let job = stage.another(&made.endpoint.id).await;
        let stop = tokio_util::sync::CancellationToken::new();
        tidemill::fanout::deliver(state, &stage.queue, &job, turn(1), None, &stop).await.unwrap();
        receiver.seen().pop().unwrap().header("authorization").to_owned()
    };
    assert_eq!(sent(&stage.state).await, "Bearer 0ld");
    assert_eq!(endpoints::get(stage.state.db(), &made.endpoint.id).await.unwrap().headers["Authorization"], "…");
    assert_eq!(reseal(&stage.state, Reseal::Plain).await.unwrap(), 1);
    assert_eq!(reseal(&stage.state, Reseal::Plain).await.unwrap(), 0);
    assert_eq!(sent(&stage.state).await, "Bearer 0ld");
    for name in ["data.db", "data.db-wal"] {
        let bytes = std::fs::read(stage.folder().join(name)).unwrap_or_default();
        assert!(!bytes.windows(10).any(|w| w == b"Bearer 0ld"), "{name} still holds the header");
    }

    let both = stage.sealed_by(config(), Sealer::new(&key(2), &[key(1)]).unwrap());
    assert_eq!(reseal(&both, Reseal::All).await.unwrap(), 2, "the secret and the headers");
    assert_eq!(reseal(&both, Reseal::All).await.unwrap(), 0);
    let new = stage.sealed_by(config(), sealer(2));
    check_keys(&new).await.unwrap();
    assert_eq!(sent(&new).await, "Bearer 0ld");
}

#[tokio::test]
async fn a_key_that_only_headers_need_is_missed_at_the_start() {
    let stage = Stage::new().await;
    with_header(&stage, "http://127.0.0.1:9/").await;
    on_pool!(stage.state.db().write(), pool => {
        sqlx::query("delete from endpoint_secrets").execute(pool).await.unwrap();
    });
    assert!(is_sealed(stage.state.db()).await.unwrap());
    let error = check_keys(&stage.sealed_by(config(), sealer(2))).await.unwrap_err();
    assert!(matches!(error, EndpointError::Sealed { source: SealError::UnknownKey(_), .. }), "{error}");
}
