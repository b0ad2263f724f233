//! JSON and protobuf side by side: the program must learn the same from both. The one place of this suite
//! that reads answers with the program's own readers, since it is them that are held against each other.

use std::fmt::Debug;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use kube_client::Client;
use zen_lead::logic::model::{Lease, Node, Object, Pod, Service, Slice};
use zen_lead::logic::reflect::{ApiStatus, Encoding, Frame, Page};
use zen_lead::shell::api::{self, OpenError, StreamError};

use super::{SHORT, SOON};

/// Both.
pub const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::Protobuf];

/// Reads every object of a namespace that zen-lead reads, and the nodes, in both encodings. Returns how
/// many there were.
pub async fn agree(client: &Client, namespace: &str) -> Result<usize> {
    let within = Some(namespace);
    Ok(same::<Pod>(client, within).await?
        + same::<Service>(client, within).await?
        + same::<Slice>(client, within).await?
        + same::<Lease>(client, within).await?
        + same::<Node>(client, None).await?)
}

async fn same<T: Object + Debug + PartialEq>(
    client: &Client,
    namespace: Option<&str>,
) -> Result<usize> {
    let deadline = Instant::now() + SOON;
    loop {
        let json = page::<T>(client, namespace, Encoding::Json).await?;
        let protobuf = page::<T>(client, namespace, Encoding::Protobuf).await?;
        let versions = |page: &Page<T>| -> Vec<_> {
            let objects = page.objects.iter();
            objects.map(|object| object.version().clone()).collect()
        };
        // Other writers go on meanwhile.
        if versions(&json) != versions(&protobuf) && Instant::now() < deadline {
            tokio::time::sleep(SHORT).await;
            continue;
        }
        for (json, protobuf) in json.objects.iter().zip(&protobuf.objects) {
            ensure!(json == protobuf, "JSON {json:?}\nprotobuf {protobuf:?}");
        }
        let counts = |page: &Page<T>| (page.objects.len(), page.unreadable.len());
        ensure!(counts(&json) == counts(&protobuf), "{}", T::RESOURCE);
        return Ok(json.objects.len());
    }
}

async fn page<T: Object>(
    client: &Client,
    namespace: Option<&str>,
    encoding: Encoding,
) -> Result<Page<T>> {
    let request = api::get_as::<T>(api::path::<T>(namespace, None), encoding);
    let answer = api::unary(client, request, SOON).await?;
    ensure!(answer.status.is_success(), "{}", answer.to_status());
    ensure!(answer.encoding == encoding, "{:?}", answer.encoding);
    Page::read(encoding, &answer.body).map_err(anyhow::Error::msg)
}

/// The refusal of a GET.
pub async fn refusal<T: Object>(
    client: &Client,
    namespace: &str,
    name: &str,
    encoding: Encoding,
) -> Result<ApiStatus> {
    let request = api::get_as::<T>(api::path::<T>(Some(namespace), Some(name)), encoding);
    let answer = api::unary(client, request, SOON).await?;
    ensure!(!answer.status.is_success(), "{name} exists");
    ensure!(answer.encoding == encoding, "{:?}", answer.encoding);
    Ok(answer.to_status())
}

/// The frames of a watch up to its end, bookmarks without their versions.
async fn watched<T: Object + Debug>(
    client: &Client,
    namespace: &str,
    query: &[(&str, &str)],
    encoding: Encoding,
) -> Result<Result<Vec<Frame<T>>, ApiStatus>> {
    let mut all = vec![("watch", "true"), ("timeoutSeconds", "1")];
    all.extend(query);
    let uri = api::with_query(api::path::<T>(Some(namespace), None), &all);
    let opened = api::open::<T>(client, api::get_as::<T>(uri, encoding), SOON).await;
    let mut stream = match opened {
        Ok(stream) => stream,
        Err(OpenError::Status(status)) => return Ok(Err(status)),
        Err(OpenError::Call(why)) => return Err(why.into()),
    };
    let mut frames = Vec::new();
    loop {
        match stream.next_frame().await {
            Ok(Some(Frame::Bookmark(mut bookmark))) => {
                bookmark.version = "1".into();
                if bookmark.initial_events_end {
                    frames.push(Frame::Bookmark(bookmark));
                }
            }
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return Ok(Ok(frames)),
            Err(StreamError::Status(status)) => return Ok(Err(status)),
            Err(why) => bail!(why),
        }
    }
}

/// Watches in both encodings, which must show the same frames. Returns how many.
pub async fn same_watch<T: Object + Debug + PartialEq>(
    client: &Client,
    namespace: &str,
    query: &[(&str, &str)],
) -> Result<usize> {
    let deadline = Instant::now() + SOON;
    loop {
        let json = watched::<T>(client, namespace, query, Encoding::Json).await?;
        let protobuf = watched::<T>(client, namespace, query, Encoding::Protobuf).await?;
        if json == protobuf {
            // A server without streaming lists refuses them in both.
            return Ok(json.map_or(0, |frames| frames.len()));
        }
        // Another writer may have been between the two.
        ensure!(
            Instant::now() < deadline,
            "JSON {json:?}\nprotobuf {protobuf:?}"
        );
    }
}
