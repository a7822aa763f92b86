//! The images that ours begin with. Where a registry can't be reached they are made here, under the same names.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::engine::Engine;
use crate::{deps, workspace};

/// A release of Debian that images are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Debian {
    /// Debian 12
    Bookworm,
    /// Debian 13
    Trixie,
}

impl Debian {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    /// The release that this machine runs.
    pub(crate) fn here() -> Option<Self> {
        let text = std::fs::read_to_string("/etc/os-release").ok()?;
        let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
        [Self::Bookworm, Self::Trixie].into_iter().find(|release| release.name() == name.trim_matches('"'))
    }

    /// The image that has nothing but this release.
    fn slim(self) -> String {
        format!("debian:{}-slim", self.name())
    }
}

/// The toolchain that images are built with; the Dockerfiles name it too.
const RUST: &str = "1.95";

/// Sees to it that an image with this release is here.
///
/// # Errors
/// When it can neither be pulled nor made.
pub(crate) fn debian(engine: &Engine, debian: Debian) -> anyhow::Result<()> {
    let image = debian.slim();
    if pulled(engine, &image) {
        return Ok(());
    }
    println!("{image} can't be pulled; making it with debootstrap");
    deps::ensure(deps::For::Images)?;
    let Some(mut make) = deps::as_root() else {
        bail!("{image} can't be pulled, and making it with debootstrap needs root, or sudo");
    };
    make.args(["/bin/sh", "-c", MAKE, "make", debian.name()]).stdout(Stdio::piped());
    let mut made = make.spawn().context("can't start debootstrap")?;
    let root = made.stdout.take().context("debootstrap has no output")?;
    let mut import = engine.docker(&["import", "--change", "CMD [\"bash\"]", "-", &image]);
    import.stdin(root).stdout(Stdio::null());
    workspace::run(import)?;
    // What was imported of a tree that broke off is no image to build on.
    if !made.wait().context("can't wait for debootstrap")?.success() {
        let _ = engine.ask(&["image", "rm", &image]);
        bail!("debootstrap did not make {image}; see above");
    }
    Ok(())
}

/// Makes a tree with debootstrap and writes it to standard output. What the registry's image leaves out is left out
/// here too, now and when packages are installed later.
const MAKE: &str = r#"
set -e
release=$1
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
debootstrap --variant=minbase "$release" "$tree" http://deb.debian.org/debian >&2
echo "deb http://deb.debian.org/debian $release main" > "$tree/etc/apt/sources.list"
cat > "$tree/etc/dpkg/dpkg.cfg.d/docker" <<'DPKG'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/locale/*
DPKG
echo 'APT::Install-Recommends "false";' > "$tree/etc/apt/apt.conf.d/docker"
find "$tree/usr/share/doc" -type f ! -name copyright -delete
rm -rf "$tree"/usr/share/man/* "$tree"/usr/share/locale/* "$tree"/var/cache/apt/*.bin \
    "$tree"/var/cache/apt/archives/*.deb "$tree"/var/lib/apt/lists/* "$tree"/var/log/*.log
tar --create --directory "$tree" --exclude './proc/*' --exclude './sys/*' --exclude './dev/*' .
"#;

/// Sees to it that an image with the Rust toolchain is here: the registry's, or one with the toolchain that runs this.
///
/// # Errors
/// When it can neither be pulled nor made.
pub(crate) fn rust(engine: &Engine, release: Debian) -> anyhow::Result<()> {
    let image = format!("rust:{RUST}-slim-{}", release.name());
    if pulled(engine, &image) {
        return Ok(());
    }
    println!("{image} can't be pulled; making it of this machine's toolchain");
    debian(engine, release)?;
    let sysroot = rustc(&["--print", "sysroot"])?;
    let version = rustc(&["--version"])?;
    if !version.starts_with(&format!("rustc {RUST}.")) {
        bail!(
            "{image} can't be pulled, and can't be made with this machine's {version}: install Rust {RUST}"
        );
    }
    let context = tempfile::tempdir().context("can't make a temporary directory")?;
    let dockerfile = format!(
        "FROM {}\nRUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates gcc libc6-dev\n\
         COPY certificates/ /etc/ssl/certs/\nCOPY toolchain /usr/local\n",
        release.slim()
    );
    let write = |path: &Path, text: &[u8]| {
        std::fs::write(path, text).with_context(|| format!("can't write {}", path.display()))
    };
    write(&context.path().join("Dockerfile"), dockerfile.as_bytes())?;
    // Whom this machine trusts: a network without a registry often has an authority of its own.
    let certificates = context.path().join("certificates");
    std::fs::create_dir(&certificates).context("can't make a directory")?;
    if let Ok(bundle) = std::fs::read("/etc/ssl/certs/ca-certificates.crt") {
        write(&certificates.join("ca-certificates.crt"), &bundle)?;
    }
    let mut tar = Command::new("tar");
    tar.args(["--create", "--directory"]).arg(context.path()).args([
        "Dockerfile",
        "certificates",
        "--directory",
    ]);
    tar.args([
        sysroot.as_str(),
        "--transform",
        r"s,^\(bin\|lib\)\b,toolchain/\1,",
        "--exclude",
        "lib/rustlib/src",
    ]);
    let mut tar = tar.args(["bin", "lib"]).stdout(Stdio::piped()).spawn().context("can't start tar")?;
    let mut build = engine.docker(&["build", "--quiet", "--tag", &image, "-"]);
    build.stdin(tar.stdout.take().context("tar has no output")?);
    workspace::run(build)?;
    if !tar.wait().context("can't wait for tar")?.success() {
        let _ = engine.ask(&["image", "rm", &image]);
        bail!("tar could not pack the toolchain in {sysroot}; see above");
    }
    Ok(())
}

/// Whether it is here, or could be had.
fn pulled(engine: &Engine, image: &str) -> bool {
    engine.has_image(image) || engine.ask(&["pull", "--quiet", image]).is_ok()
}

fn rustc(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("rustc").args(arguments).current_dir(workspace::root()).output();
    let output = output.context("can't start rustc")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_making_is_a_script_that_a_shell_can_read() {
        assert!(Command::new("/bin/sh").args(["-n", "-c", MAKE]).status().unwrap().success());
    }

    #[test]
    fn the_dockerfiles_are_built_with_this_toolchain() {
        for name in ["relayd", "dispatcherd"] {
            let path = workspace::root().join(format!("ddev/images/{name}/Dockerfile"));
            let text = std::fs::read_to_string(path).unwrap();
            assert!(text.contains(&format!("FROM rust:{RUST}-slim-${{DEBIAN}} AS build")), "{name}");
        }
    }
}
