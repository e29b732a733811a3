//! Counters in the proxy's `/metrics`.

use crate::sys;

/// A counter, `tidegate_plugin_METRIC_total` in `/metrics`, with the plugin's name and these labels. Open it once, in
/// [`Plugin::new`](crate::Plugin::new), and keep it: counting is then a few nanoseconds.
///
/// Names match `[a-z_][a-z0-9_]*`. At most 1,000 series a plugin; beyond that, or with a wrong name, what is counted goes to
/// `tidegate_plugin_counters_refused_total`.
///
/// ```
/// use tidegate_sdk::Counter;
/// let refused = Counter::open("refused", &[("reason", "rate")]);
/// refused.add(1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter(u32);

impl Counter {
    /// The counter of that name with these labels; the same name and labels give the same counter.
    pub fn open(metric: &str, labels: &[(&str, &str)]) -> Counter {
        let labels: Vec<(String, String)> = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Counter(sys::open_counter(metric, &labels))
    }

    /// Adds to it.
    pub fn add(&self, delta: u64) {
        sys::count(self.0, delta);
    }
}
