//! The operator's part, on the command line in dispatcherd's config.

use std::path::PathBuf;

use clap::Args;

use crate::verb::VerbArgument;

/// The operator's part, on the command line in dispatcherd's config.
#[derive(Debug, Args)]
pub(crate) struct KubernetesOptions {
    /// The kubeconfig: where the cluster is, and who this is there. In the home directory of dispatcherd's user when left out
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Which context of the kubeconfig; its current one when left out
    #[arg(long, value_name = "NAME")]
    pub(super) context: Option<String>,
    /// Roles may have objects of this kind too, as KIND.GROUP, such as Certificate.cert-manager.io. Only for kinds that
    /// live in namespaces
    #[arg(long, value_name = "KIND")]
    pub(super) allow_kind: Vec<String>,
    /// The program
    #[arg(long, value_name = "PROGRAM", default_value = "kubectl")]
    pub(super) kubectl: PathBuf,
    /// What to do
    #[arg(value_enum)]
    pub(crate) verb: VerbArgument,
}
