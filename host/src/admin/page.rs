//! The dashboard on `/`: a page that asks the API for what it shows, as anybody may. It holds nothing itself.

pub const PAGE: &str = include_str!("dashboard/index.html");
pub const STYLE: &str = include_str!("dashboard/dashboard.css");
pub const SCRIPT: &str = include_str!("dashboard/dashboard.js");

/// Where they are. Whoever may reach the port may have them: without the token they stay empty.
pub const PATHS: [&str; 3] = ["/", "/dashboard.css", "/dashboard.js"];
