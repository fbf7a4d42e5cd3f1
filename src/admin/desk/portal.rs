//! Links to the consumers' page: made, listed, taken back.

use serde_json::{Value, json};

use super::Desk;
use super::webhooks::clipped;
use crate::admin::page::{Ask, Paged};
use crate::admin::{Admin, AtLeast, May, Operator, Refusal};
use crate::portal::{Link, LinkError, Links, MadeLink, NewLink};

impl Desk {
    /// Makes a link; its text is returned here once and never again. For admins, because whoever has it may add endpoints.
    ///
    /// # Errors
    /// When the page is off, the tenant is none, or the time is out of range.
    pub async fn make_portal_link(&self, by: &May<impl AtLeast<Admin>>, new: &NewLink) -> Result<MadeLink, Refusal> {
        let links = self.links()?;
        let act = async { Ok(links.make(new, &by.actor().name).await?) };
        let after = |made: &MadeLink| described(&made.link);
        self.change(by.actor(), "portal.link", format!("tenant:{}", clipped(&new.tenant)), None, after, act).await
    }

    /// A page of a tenant's links, newest first, ended ones too; without their texts.
    ///
    /// # Errors
    /// When the page is off, the cursor is none, or the database did not answer.
    pub async fn portal_links(
        &self,
        _by: &May<impl AtLeast<Operator>>,
        tenant: &str,
        ask: &Ask,
    ) -> Result<Paged<Link>, Refusal> {
        let below = ask.cursor.as_ref().map(|place| place.key::<String>()).transpose()?;
        let rest = self.links()?.list(tenant, below.as_deref(), ask.limit.get() + 1).await?;
        Ok(ask.of_rest(rest, |link| link.id.clone()))
    }

    /// Takes one link back; who came in by it is out.
    ///
    /// # Errors
    /// When there is none, or it is over.
    pub async fn revoke_portal_link(&self, by: &May<impl AtLeast<Admin>>, id: &str) -> Result<Link, Refusal> {
        let links = self.links()?;
        let act = async { Ok(links.revoke(id).await?) };
        self.change(by.actor(), "portal.revoke", format!("link:{}", clipped(id)), None, described, act).await
    }

    /// Takes all links of a tenant back; how many that were.
    ///
    /// # Errors
    /// When the page is off, or the database did not answer.
    pub async fn revoke_portal_links(&self, by: &May<impl AtLeast<Admin>>, tenant: &str) -> Result<u64, Refusal> {
        let links = self.links()?;
        let act = async { Ok(links.revoke_all(tenant).await?) };
        let after = |revoked: &u64| json!({ "revoked": revoked });
        self.change(by.actor(), "portal.revoke", format!("tenant:{}", clipped(tenant)), None, after, act).await
    }

    fn links(&self) -> Result<&Links, Refusal> {
        self.links.as_ref().ok_or_else(|| LinkError::Off.into())
    }
}

fn described(link: &Link) -> Value {
    json!({
        "link": link.id, "tenant": link.tenant, "read_only": link.read_only, "expires_at": link.expires_at,
        "opened": link.opened,
    })
}
