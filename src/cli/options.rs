//! What several verbs are asked alike.

use std::{net::IpAddr, path::PathBuf};

use clap::{Args, ValueEnum};

/// Which configuration file.
#[derive(Clone, Debug, Args)]
pub struct File {
    /// The configuration [default: config/pointsman.toml, else /etc/pointsman/pointsman.toml].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The request that `explain` is about.
#[derive(Debug, Args)]
pub struct Request {
    #[command(flatten)]
    #[doc(hidden)]
    pub file: File,
    /// Its method; GET if it is left out.
    pub method: String,
    /// Its URL, or a path alone; of https its host is the name of the TLS handshake, and `-H 'Host: …'` another one. `tcp://host`, `tls://name` and `quic://name` ask for a connection that is passed on.
    pub url: Option<String>,
    /// A header, as `Name: value`; as often as you like.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// The client's address.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub from: IpAddr,
    /// Whether the client asks by HTTP/2.
    #[arg(long)]
    pub http2: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For scripts.
    Json,
}
