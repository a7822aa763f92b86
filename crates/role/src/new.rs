//! A new role: one that checks, deploys and is tested.

use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aegir_protocol::name::RoleName;

/// Why there is no new role.
#[derive(Debug, thiserror::Error)]
pub enum NewError {
    /// Something has its place.
    #[error("{} is there already: choose another name or directory", .0.display())]
    Exists(PathBuf),
    /// The disk.
    #[error("could not write {}: {error}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
}

macro_rules! files {
    ($($file:literal),+ $(,)?) => { [$(($file, include_str!(concat!("../new/", $file)))),+] };
}

/// With `THE_ROLE` for its name, and `THE_TITLE` for that as people write it.
const FILES: [(&str, &str); 8] = files![
    "README.md",
    "meta/aegir.yml",
    "tasks/files.yml",
    "tasks/verify.yml",
    "tasks/delete.yml",
    "templates/page.html.j2",
    "tests/play.yml",
    "tests/run",
];

/// What an editor checks the manifest against, beside it.
const SCHEMA: &str = "meta/aegir.schema.json";

/// Makes a role of this name in a directory, and says where it is.
///
/// # Errors
/// When there is something of that name, or it can't be written.
pub fn new(name: &RoleName, directory: &Path) -> Result<PathBuf, NewError> {
    let role = directory.join(name.as_str());
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| NewError::Write { path, error }
    };
    std::fs::create_dir_all(directory).map_err(failed(directory))?;
    std::fs::create_dir(&role).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => NewError::Exists(role.clone()),
        _ => failed(&role)(error),
    })?;
    for (file, text) in FILES {
        let path = role.join(file);
        let parent = path.parent().unwrap_or(&role);
        std::fs::create_dir_all(parent).map_err(failed(parent))?;
        let text = text.replace("THE_ROLE", name.as_str()).replace("THE_TITLE", &title(name));
        write(&path, &text).map_err(failed(&path))?;
    }
    let path = role.join(SCHEMA);
    let schema = serde_json::to_string_pretty(&aegir_catalog::schema::role()).map_err(io::Error::from);
    schema.and_then(|schema| write(&path, &(schema + "\n"))).map_err(failed(&path))?;
    Ok(role)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    if text.starts_with("#!") {
        file.set_permissions(Permissions::from_mode(0o755))?;
    }
    file.write_all(text.as_bytes())
}

/// `my_shop` as people write it: `My shop`.
fn title(name: &RoleName) -> String {
    let words = name.as_str().replace('_', " ");
    let mut letters = words.chars();
    letters
        .next()
        .map_or_else(String::new, |first| format!("{}{}", first.to_ascii_uppercase(), letters.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_role_checks_and_is_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let name = "my_shop".parse().unwrap();
        let role = new(&name, &directory.path().join("roles")).unwrap();
        assert_eq!(crate::check(&role, &[]), Vec::<String>::new());
        let manifest = std::fs::read_to_string(role.join(crate::MANIFEST)).unwrap();
        assert!(manifest.contains("title: My shop\n") && !manifest.contains("THE_"), "{manifest}");
        // An editor finds the schema by the first line.
        let schema =
            manifest.lines().next().unwrap().strip_prefix("# yaml-language-server: $schema=").unwrap();
        let schema = std::fs::read_to_string(role.join("meta").join(schema)).unwrap();
        assert_eq!(schema.parse::<serde_json::Value>().unwrap(), *aegir_catalog::schema::role().as_value());
        assert!(matches!(new(&name, &directory.path().join("roles")), Err(NewError::Exists(_))));
    }
}
