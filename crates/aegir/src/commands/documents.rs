//! `aegir documents`.

use std::process::ExitCode;

use aegir_protocol::api::DocumentList;
use aegir_service::exit::Exit;

use super::Context;
use crate::arguments::Documents;
use crate::error::Error;
use crate::render::documents;
use crate::terminal::{print, print_json};

pub(super) async fn documents(context: &Context, arguments: &Documents) -> Result<ExitCode, Error> {
    let target = &arguments.target;
    let path = format!("/api/v1/targets/{}/{}/documents", target.kind, target.name);
    let list: DocumentList = context.client.get(&path).await?;
    match &arguments.name {
        Some(name) => {
            let found = list.documents.iter().find(|document| document.name == *name);
            let found = found.ok_or_else(|| Error::NoSuchDocument {
                target: format!("{}:{}", target.kind, target.name),
                name: name.clone(),
            })?;
            print_json(&found.value)?;
        }
        None if context.json => print_json(&list)?,
        None => print(documents::list(&context.look, &list.documents).as_bytes())?,
    }
    Ok(Exit::Success.into())
}
