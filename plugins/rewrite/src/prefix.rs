//! One prefix in place of another. It ends at a segment boundary: `/api` is a prefix of `/api` and `/api/x`, not of `/apix`.

use tidegate_sdk::path::under;

/// Both sides without their last slash; empty stands for `/`.
pub struct Prefix {
    pub from: String,
    pub to: String,
    /// Tell the server what was taken away, as `x-forwarded-prefix`.
    pub forwarded: bool,
}

impl Prefix {
    pub fn takes(&self, path: &[u8]) -> bool {
        under(path, self.from.as_bytes()).is_some()
    }

    pub fn apply(&self, path: &str) -> Option<String> {
        let rest = under(path.as_bytes(), self.from.as_bytes())?;
        Some(format!("{}{}", self.to, &path[path.len() - rest.len()..]))
    }
}
