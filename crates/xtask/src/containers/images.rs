//! `cargo xtask images`: relayd, dispatcherd, RabbitMQ and a minion as container images.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::base::{self, Debian};
use super::engine::Engine;
use crate::workspace;

/// `cargo xtask images`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Which; all of them when none is named
    #[arg(value_enum)]
    images: Vec<Image>,
    /// The Debian release of relayd, dispatcherd and the minion. RabbitMQ is built from both: 3.10 and 4.0
    #[arg(long, value_enum, default_value_t = Debian::Bookworm)]
    debian: Debian,
    /// The cargo profile: `dev` is built in a third of the time, `release` is fast and small
    #[arg(long, default_value = "release")]
    profile: String,
}

/// An image that is built here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Image {
    Relayd,
    Dispatcherd,
    Rabbitmq,
    Minion,
    /// What stands in for DDEV's web container in the localdev
    Web,
}

impl Image {
    pub(crate) const ALL: [Self; 5] =
        [Self::Relayd, Self::Dispatcherd, Self::Rabbitmq, Self::Minion, Self::Web];

    /// Its name, without a tag.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Relayd => "aegir-relayd",
            Self::Dispatcherd => "aegir-dispatcherd",
            Self::Rabbitmq => "aegir-rabbitmq",
            Self::Minion => "aegir-minion",
            Self::Web => "aegir-localdev-web",
        }
    }

    /// The image that the add-on's files use when the environment names no other.
    pub(crate) fn built(self) -> String {
        let tag = if self == Self::Rabbitmq { Debian::Bookworm.name() } else { "latest" };
        format!("{}:{tag}", self.name())
    }

    /// The image that the add-on's files use: what the environment says, or what is built here.
    pub(crate) fn used(self) -> String {
        let variable = match self {
            Self::Relayd => "AEGIR_RELAYD_IMAGE",
            Self::Dispatcherd => "AEGIR_DISPATCHERD_IMAGE",
            Self::Rabbitmq => "AEGIR_RABBITMQ_IMAGE",
            Self::Minion => "AEGIR_MINION_IMAGE",
            Self::Web => return self.built(),
        };
        std::env::var(variable).unwrap_or_else(|_| self.built())
    }

    /// What it is built by; DDEV puts its own and the add-on's together in the same way.
    fn dockerfiles(self) -> &'static [&'static str] {
        match self {
            Self::Relayd => &["ddev/images/relayd/Dockerfile"],
            Self::Dispatcherd => &["ddev/images/dispatcherd/Dockerfile"],
            Self::Rabbitmq => &["ddev/images/rabbitmq/Dockerfile"],
            Self::Minion => &["ddev/images/minion/Dockerfile"],
            Self::Web => &["ddev/localdev/Dockerfile", "ddev/web-build/Dockerfile.aegir"],
        }
    }

    /// All of that in a file to read from its start.
    fn dockerfile(self, compile: Compile<'_>) -> anyhow::Result<File> {
        let mut whole = tempfile::tempfile().context("can't make a temporary file")?;
        for path in self.dockerfiles() {
            let mut text = std::fs::read_to_string(workspace::root().join(path))
                .with_context(|| format!("can't read {path}"))?;
            if self.is_compiled() && compile == Compile::Here {
                text = with_compiled(&text).with_context(|| format!("{path} has no stage that compiles"))?;
            }
            whole.write_all(text.as_bytes()).context("can't write a temporary file")?;
        }
        whole.rewind().context("can't read a temporary file")?;
        Ok(whole)
    }

    /// Whether it holds what cargo builds.
    fn is_compiled(self) -> bool {
        matches!(self, Self::Relayd | Self::Dispatcherd)
    }
}

/// Where the programs in the images are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compile<'a> {
    /// In the Dockerfile's first stage, with this cargo profile.
    InTheImage {
        /// `dev` or `release`.
        profile: &'a str,
    },
    /// They are the ones below `target/debug`: nothing is compiled twice.
    Here,
}

/// The image that has nothing but the compiled programs.
const COMPILED: &str = "aegir-compiled:latest";
const PROGRAMS: [&str; 3] = ["relayd", "dispatcherd", "aegir"];

/// A Dockerfile with [`COMPILED`] in place of the stage that compiles.
fn with_compiled(dockerfile: &str) -> Option<String> {
    let (before, rest) = dockerfile.split_once("\nFROM rust:")?;
    let (_, after) = rest.split_once("\nFROM ")?;
    Some(format!("{before}\nFROM {COMPILED} AS build\nFROM {after}"))
}

/// Makes [`COMPILED`].
fn import_compiled(engine: &Engine) -> anyhow::Result<()> {
    let tree = tempfile::tempdir().context("can't make a temporary directory")?;
    let out = tree.path().join("out");
    std::fs::create_dir(&out).context("can't make a directory")?;
    for name in PROGRAMS {
        let mut strip = Command::new("strip");
        strip.arg("--strip-debug").arg("-o").arg(out.join(name));
        strip.arg(workspace::target().join("debug").join(name));
        workspace::run(strip)?;
    }
    let mut tar = Command::new("tar");
    tar.args(["--create", "--directory"]).arg(tree.path()).arg("out").stdout(Stdio::piped());
    let mut tar = tar.spawn().context("can't start tar")?;
    let mut import = engine.docker(&["import", "-", COMPILED]);
    import.stdin(tar.stdout.take().context("tar has no output")?).stdout(Stdio::null());
    workspace::run(import)?;
    if !tar.wait().context("can't wait for tar")?.success() {
        bail!("tar could not pack the compiled programs; see above");
    }
    Ok(())
}

/// The version that images of this tree carry.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Where they carry it.
pub(crate) const VERSION_LABEL: &str = "org.opencontainers.image.version";
/// And the commit.
pub(crate) const REVISION_LABEL: &str = "org.opencontainers.image.revision";

/// Builds what was asked for.
///
/// # Errors
/// When there is no engine, or an image can't be built.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let engine = Engine::find()?;
    let mut images = arguments.images.clone();
    if images.is_empty() {
        images.extend(Image::ALL);
    } else if images.contains(&Image::Relayd) && !images.contains(&Image::Web) {
        // It takes aegir from there.
        images.push(Image::Web);
    }
    build(&engine, &images, arguments.debian, Compile::InTheImage { profile: &arguments.profile })
}

/// Builds images, with what they begin with.
///
/// # Errors
/// When one can't be built.
pub(crate) fn build(
    engine: &Engine,
    images: &[Image],
    debian: Debian,
    compile: Compile<'_>,
) -> anyhow::Result<()> {
    let revision = revision();
    if compile == Compile::Here {
        import_compiled(engine)?;
    }
    for &image in images {
        let releases =
            if image == Image::Rabbitmq { vec![Debian::Bookworm, Debian::Trixie] } else { vec![debian] };
        for release in releases {
            base::debian(engine, release)?;
            let profile = match compile {
                Compile::InTheImage { profile } if image.is_compiled() => Some(profile),
                Compile::InTheImage { .. } | Compile::Here => None,
            };
            if profile.is_some() {
                base::rust(engine, release)?;
            }
            let name = image.name();
            let tag = match image {
                Image::Rabbitmq => release.name().to_owned(),
                Image::Relayd | Image::Dispatcherd | Image::Minion | Image::Web => "latest".to_owned(),
            };
            println!("Building {name}:{tag}");
            let mut command = engine.docker(&["build", "--file", "-", "--tag", &format!("{name}:{tag}")]);
            command.args(["--build-arg", &format!("DEBIAN={}", release.name())]);
            if let Some(profile) = profile {
                command.args(["--build-arg", &format!("PROFILE={profile}")]);
            }
            command.args(["--label", &format!("{VERSION_LABEL}={VERSION}")]);
            command.args(["--label", &format!("{REVISION_LABEL}={revision}")]);
            command.arg(".").stdin(image.dockerfile(compile)?);
            workspace::run(command)?;
        }
    }
    Ok(())
}

/// The commit that this tree is, and whether it was changed since.
pub(crate) fn revision() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(workspace::root()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "HEAD"]) else { return "unknown".to_owned() };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changed) if changed.is_empty() => commit,
        _ => format!("{commit}-changed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compiled_already_takes_the_place_of_the_stage_that_compiles() {
        for image in [Image::Relayd, Image::Dispatcherd] {
            let path = workspace::root().join(image.dockerfiles()[0]);
            let text = std::fs::read_to_string(path).unwrap();
            let changed = with_compiled(&text).unwrap();
            assert!(!changed.contains("cargo build") && !changed.contains("FROM rust:"), "{changed}");
            assert!(changed.contains("FROM debian:${DEBIAN}-slim") && changed.contains("COPY --from=build"));
        }
    }
}
