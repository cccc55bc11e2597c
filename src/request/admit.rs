//! Who calls, and whether they may. What was not admitted cannot be forwarded: every later stage takes `Admitted`.

use std::sync::Arc;

use bytes::Bytes;

use super::call::Call;
use super::clock;
use super::read::{Received, Understood};
use super::refuse::Refusal;
use crate::listen::body::HeldBody;
use crate::live::Snapshot;
use crate::tenants::Tenant;
use crate::wire::{Endpoint, Hints, Message};

pub struct Admitted {
    pub request: Understood,
    pub tenant: Arc<Tenant>,
    pub project: Option<Arc<str>>,
}

pub fn admit(received: Received, snapshot: &Snapshot) -> Result<Admitted, Refusal> {
    let Received {
        request,
        origin,
        cross_site,
        project,
    } = received;
    // SECURITY: a web page in the operator's browser can reach a loopback port; it must not spend keys. What its scripts
    // fetch has an Origin; an image, a frame or a link by GET has none.
    let is_of_a_page = match &origin {
        Some(origin) => !snapshot.settings.clients.origins.contains(origin),
        None => cross_site,
    };
    if is_of_a_page {
        return Err(Refusal::OriginNotAllowed);
    }
    let fields = request.message.fields();
    let token = fields.token.as_deref().unwrap_or_default();
    let tenant = snapshot
        .tenants
        .by_token(token)
        .ok_or_else(|| unknown(token))?;
    tenant.touch(clock::now_ms());
    // What was accepted is polled to its end: only new work is refused.
    if !tenant.is_active() && matches!(request.call, Call::Submit | Call::Solve) {
        return Err(Refusal::TenantInactive);
    }
    let named = project.or_else(|| fields.project.clone());
    let project = named.map(Arc::from).or_else(|| tenant.project.clone());
    Ok(Admitted {
        tenant: Arc::clone(tenant),
        project,
        request,
    })
}

/// Vendors tell a key of the wrong length from one that nobody has, and so do clients.
fn unknown(token: &[u8]) -> Refusal {
    if token.len() == VENDOR_KEY_LENGTH {
        Refusal::UnknownToken
    } else {
        Refusal::NoToken
    }
}

const VENDOR_KEY_LENGTH: usize = 32;

/// For whom the vendor is asked, as far as a call shows it.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    pub endpoint: Endpoint,
    pub user_agent: Option<&'a Bytes>,
    pub token: &'a [u8],
    pub hints: Hints,
}

impl Caller<'static> {
    /// Sidekey itself, which has no client to answer.
    pub const OWN: Self = Self {
        endpoint: Endpoint::Result,
        user_agent: None,
        token: NO_TOKEN,
        hints: Hints {
            json: false,
            header_acao: false,
        },
    };
}

impl Admitted {
    /// A submit that was admitted before it was parked.
    pub(super) fn parked(
        message: Message,
        user_agent: Option<Bytes>,
        tenant: Arc<Tenant>,
        project: Option<Arc<str>>,
        held: HeldBody,
    ) -> Self {
        let request = Understood {
            call: Call::Submit,
            endpoint: Endpoint::Submit,
            message: Box::new(message),
            user_agent,
            idempotency_key: None,
            held,
        };
        Self {
            request,
            tenant,
            project,
        }
    }

    pub fn caller(&self) -> Caller<'_> {
        Caller {
            endpoint: self.request.endpoint,
            user_agent: self.request.user_agent.as_ref(),
            token: self.token(),
            hints: self.request.hints(),
        }
    }

    /// What the client sent as its key: it stands in for the real one where an answer echoes that.
    pub fn token(&self) -> &[u8] {
        let token = self.request.message.fields().token.as_deref();
        // That of a parked submit is not known any more.
        token.filter(|token| !token.is_empty()).unwrap_or(NO_TOKEN)
    }
}

/// Stands in for a key where there is no token, or where the token must not be seen either.
pub(super) const NO_TOKEN: &[u8] = b"********************************";
