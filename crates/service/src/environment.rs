//! What programs that are started have in their environment.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// Where programs are looked for when the runner was started without a `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where programs are looked for.
#[must_use]
pub fn search_path() -> OsString {
    std::env::var_os("PATH").filter(|path| !path.is_empty()).unwrap_or_else(|| DEFAULT_PATH.into())
}

/// What every child has in its environment.
#[must_use]
pub fn base() -> BTreeMap<String, OsString> {
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/".into());
    [("PATH", search_path()), ("HOME", home), ("LC_ALL", "C.UTF-8".into())]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
