//! Handing outputs over as documents.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::settings::OpentofuSettings;
use super::tool::Tool;
use crate::error::Error;
use crate::task::Task;

#[derive(Debug, Deserialize)]
struct Output {
    value: Value,
    #[serde(default)]
    sensitive: bool,
}

pub(super) fn hand_over(tool: &Tool, settings: &OpentofuSettings, task: &mut Task) -> Result<(), Error> {
    if settings.outputs.is_empty() && settings.secret_outputs.is_empty() {
        return Ok(());
    }
    task.doing(95, "Hand the outputs over")?;
    let mut found: BTreeMap<String, Output> = tool.outputs()?;
    let wanted = |secret| if secret { &settings.secret_outputs } else { &settings.outputs };
    for (name, secret) in
        [false, true].into_iter().flat_map(|secret| wanted(secret).iter().map(move |name| (name, secret)))
    {
        let Some(output) = found.remove(name.as_str()) else {
            return Err(Error::Role(format!("its configuration has no output {name}")));
        };
        // Before a document is said to be secret, nothing masks what is in it.
        if output.sensitive && !secret {
            return Err(Error::Role(format!(
                "its configuration calls the output {name} sensitive: name it in `secret_outputs`, and let the manifest call it \
                 secret"
            )));
        }
        task.document(name.clone(), output.value)?;
    }
    Ok(())
}
