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
    /// Its method [default: GET].
    pub method: String,
    /// Its URL, or only a path. With https its host is also the TLS server name, and `-H 'Host: …'` can set another Host. `tcp://host`, `tls://name` and `quic://name` stand for layer 4 connections.
    pub url: Option<String>,
    /// A header, as `Name: value`; can be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// The client's address.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub from: IpAddr,
    /// The client uses HTTP/2.
    #[arg(long)]
    pub http2: bool,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Human-readable text.
    #[default]
    Text,
    /// For scripts.
    Json,
}
