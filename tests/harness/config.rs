//! Pieces of configuration that most tests share. `"@NAME"` stands for an address that [`Setup`](crate::Setup) reserves.

use crate::origin::Origin;

/// A listener `web` in front of a pool `app` with these origins.
pub fn site(balancer: &str, origins: &[&Origin]) -> String {
    listener("web", "pool = \"app\"") + &pool("app", &format!("balancer = \"{balancer}\""), origins)
}

/// A listener of that name, bound to `@NAME`, with further lines.
pub fn listener(name: &str, lines: &str) -> String {
    format!("\n[[listener]]\nname = \"{name}\"\nbind = \"@{name}\"\n{lines}\n")
}

/// A pool with these origins, with further lines.
pub fn pool(name: &str, lines: &str, origins: &[&Origin]) -> String {
    let servers: Vec<String> = origins.iter().map(|origin| server(origin, "")).collect();
    format!(
        "\n[[pool]]\nname = \"{name}\"\n{lines}\nservers = [{}]\n",
        servers.join(", ")
    )
}

/// An entry of `servers`; `more` begins with a comma, as in `, weight = 3`.
pub fn server(origin: &Origin, more: &str) -> String {
    format!(
        "{{ name = \"{}\", address = \"{}\"{more} }}",
        origin.name,
        origin.address()
    )
}
