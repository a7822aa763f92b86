//! `aegir catalog`, `aegir nodes`, `aegir sign-in` and `aegir completions`.

use std::process::ExitCode;
use std::sync::Arc;

use aegir_api::{CatalogList, NodeList, SignInLink};
use aegir_client::address::RelaydAddress;
use aegir_service::exit::Exit;
use clap::CommandFactory;
use serde_json::json;

use super::context::Context;
use crate::arguments::{CatalogArguments, Cli};
use crate::error::Error;
use crate::render::catalog;
use crate::terminal::{print, print_json, print_text};

pub(super) async fn catalog(context: &Context, arguments: &CatalogArguments) -> Result<ExitCode, Error> {
    let mut list: CatalogList = context.client.get("/api/v1/catalog").await?;
    if let Some(wanted) = &arguments.role {
        for catalog in &mut list.catalogs {
            Arc::make_mut(catalog).roles.retain(|name, _| name.as_str() == wanted);
        }
        list.catalogs.retain(|catalog| !catalog.roles.is_empty());
        if list.catalogs.is_empty() {
            return Err(Error::NoSuchRole(wanted.clone()));
        }
    }
    context.show(&list, || match &arguments.role {
        None => catalog::catalogs(&context.look, &list.catalogs),
        Some(_) => catalog::roles(&context.look, &list.catalogs),
    })
}

pub(super) async fn nodes(context: &Context) -> Result<ExitCode, Error> {
    let list: NodeList = context.client.get("/api/v1/nodes").await?;
    context.show(&list, || catalog::nodes(&context.look, &list.nodes))
}

pub(super) async fn sign_in(context: &Context) -> Result<ExitCode, Error> {
    let link: SignInLink = context.client.post("/api/v1/sign-in-links", &json!({})).await?;
    if context.json {
        print_json(&link)?;
        return Ok(Exit::Success.into());
    }
    let url = match context.client.address() {
        address @ RelaydAddress::Http(_) => address.url(&link.path),
        RelaydAddress::Unix(_) => {
            eprintln!(
                "Put the address of relayd's page before this path; a Unix socket has no such address."
            );
            link.path.clone()
        }
    };
    print_text(&format!("{url}\n"))?;
    if context.look.terminal {
        eprintln!("The link works once, until {}.", context.look.time(link.expires_at));
    }
    Ok(Exit::Success.into())
}

pub(super) fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "aegir", &mut script);
    print(&script)?;
    Ok(Exit::Success.into())
}
