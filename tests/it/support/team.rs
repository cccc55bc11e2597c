//! Clients that are told apart by their tokens.

use sidekey::sandbox::SandboxConfig;

use super::http::{self, Answer};
use super::{TASK, World, keys, write};

/// What a tenant's clients send as `key`.
pub(crate) fn token(tenant: &str) -> String {
    format!("{:0>32}", format!("token-of-{tenant}"))
}

/// A tenants file: names, and further lines of each.
pub(crate) fn tenants(of: &[(&str, &str)]) -> String {
    of.iter()
        .map(|(name, lines)| {
            let token = token(name);
            format!("[[tenant]]\nname = {name:?}\ntoken = {token:?}\n{lines}\n")
        })
        .collect()
}

impl World {
    /// As `start`, with these tenants. Says so when a token reaches the vendor.
    pub(crate) async fn start_for(
        mut vendor: SandboxConfig,
        config: &str,
        of: &[(&str, &str)],
    ) -> Self {
        let text = keys(vendor.accounts.iter().map(|a| (&a.name, &a.key)));
        vendor
            .forbidden
            .extend(of.iter().map(|(name, _)| token(name)));
        let config = format!("clients.mode = \"tenants\"\n{config}");
        let mut world = Self::prepare(vendor, &config).await;
        world.use_tenants_file();
        world.write_keys(&text);
        world.write_tenants(&tenants(of));
        world.start_again().await;
        world.running().server.prober.has_learnt().await;
        world
    }

    pub(crate) fn write_tenants(&self, text: &str) {
        write(&self.place.path().join("tenants.toml"), text);
    }

    pub(crate) async fn submit_as(&self, tenant: &str) -> String {
        let answer = self
            .try_as(tenant, &format!("/in.php?key={{}}&{TASK}"))
            .await;
        match answer.strip_prefix("OK|") {
            Some(id) => id.to_owned(),
            None => panic!("{tenant} is refused: {answer}"),
        }
    }

    pub(crate) async fn poll_as(&self, tenant: &str, id: &str) -> String {
        let target = format!("/res.php?key={{}}&action=get&id={id}");
        self.try_as(tenant, &target).await
    }

    /// `{}` is the tenant's token.
    pub(crate) async fn try_as(&self, tenant: &str, target: &str) -> String {
        self.get(&target.replace("{}", &token(tenant))).await
    }

    /// The admin port, with this as the bearer.
    pub(crate) async fn admin_as(&self, bearer: &str, method: &str, target: &str) -> Answer {
        let header = format!("Authorization: Bearer {bearer}\r\n");
        http::send(self.admin(), method, target, &header, "").await
    }

    pub(crate) fn use_tenants_file(&self) {
        let path = self.config_path();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, format!("tenants_file = \"tenants.toml\"\n{text}")).unwrap();
    }
}
