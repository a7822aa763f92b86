//! An operator's own playbook: below a content root, and not by a link.

use std::path::{Path, PathBuf};

use aegir_protocol::code::Code;
use aegir_protocol::state::Reason;

/// The absolute path of a playbook. A relative one is looked for below each root in turn.
pub(super) fn find(path: &str, roots: &[PathBuf]) -> Result<PathBuf, Reason> {
    let outside = || {
        let roots: Vec<_> = roots.iter().map(|root| root.display().to_string()).collect();
        let roots = if roots.is_empty() { "none are configured".to_owned() } else { roots.join(", ") };
        Code::SourceNotAllowed.because(format!(
            "playbook {path} is not below a content root ({roots}): move it there, without links that lead \
             out, or add its directory to content_roots in dispatcherd's config"
        ))
    };
    for root in roots {
        let Ok(root) = root.canonicalize() else { continue };
        // `join` gives the path itself when it is absolute.
        let Ok(found) = root.join(Path::new(path)).canonicalize() else { continue };
        if found.starts_with(&root) && found.is_file() {
            return Ok(found);
        }
    }
    Err(outside())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_what_lies_below_a_root_is_found() {
        let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let roots = [root.path().to_owned()];
        let inside = root.path().join("site.yml");
        let outside = other.path().join("site.yml");
        std::fs::write(&inside, "[]").unwrap();
        std::fs::write(&outside, "[]").unwrap();
        symlink(&outside, root.path().join("link.yml")).unwrap();
        symlink(other.path(), root.path().join("directory")).unwrap();

        let expect = inside.canonicalize().unwrap();
        assert_eq!(find("site.yml", &roots).unwrap(), expect);
        assert_eq!(find(inside.to_str().unwrap(), &roots).unwrap(), expect);
        for path in [
            outside.to_str().unwrap(),
            "link.yml",
            "directory/site.yml",
            "../site.yml",
            "",
            ".",
            "nowhere.yml",
        ] {
            let reason = find(path, &roots).unwrap_err();
            assert_eq!(reason.code, Code::SourceNotAllowed.as_str(), "{path}");
        }
    }
}
