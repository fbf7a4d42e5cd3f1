//! Anybody with an HMAC, described axis by axis in `[ingress.sources.<name>.hmac]`.

use super::{Answers, At, KeyForm, Look, Plan, Signature, SourceConfig, Way, Wrong};

pub(super) fn plan(config: &SourceConfig) -> Result<Plan, Wrong> {
    let hmac = config.hmac.as_ref();
    let hmac = hmac.ok_or_else(|| ("hmac", "is missing; scheme `hmac` is described there".to_owned()))?;
    let id = config.id.as_ref().map(|place| At::configured("id", place)).transpose()?;
    let header = match &id {
        Some(At::Header(name)) => Some(name.clone()),
        Some(At::Body(_) | At::Form(_)) | None => None,
    };
    let signature = Signature::configured(hmac, header)?;
    Ok(Plan {
        way: Way::Signature(signature, KeyForm::Mac(hmac.secret, hmac.hash)),
        look: Look { ids: id.into_iter().collect(), ..Look::default() },
        answers: Answers::PLAIN,
        tolerance_seconds: 300,
        remember_hours: 4 * 24,
    })
}
