use bytes::Bytes;

use super::tests::*;
use super::*;
use crate::detect::{EvidenceManifest, collect, replay, replay_all};
use crate::exit::Exit;

#[tokio::test]
async fn evidence_replays_to_the_same_bytes() {
    let (session, queries) = (session(), worked_example());
    let mut inputs = inputs();
    inputs.params.insert(
        "surplus-replicas".to_owned(),
        Params::default().with_int("share", 2),
    );
    let detection = detect(&session, &queries, &inputs).await.unwrap();
    let evidence = collect(&session, &queries, &inputs, &detection)
        .await
        .unwrap();
    let again = collect(&session, &queries, &inputs, &detection)
        .await
        .unwrap();
    assert_eq!(evidence.digest, again.digest);
    let detection = detection.with_evidence(&evidence.digest);

    let manifest =
        EvidenceManifest::from_bytes(&evidence.blobs[&evidence.digest], &evidence.digest).unwrap();
    let days = manifest
        .tables
        .iter()
        .filter(|table| table.table == "ledger")
        .count();
    assert_eq!(days as i64, DAYS);
    let blobs = &evidence.blobs;
    let fetch = |sha256: String| async move {
        blobs
            .get(&sha256)
            .map(|bytes| Bytes::from(bytes.clone()))
            .ok_or("it is not there")
    };
    for finding in &detection.findings {
        let replayed = replay(&manifest, fetch, &finding.finding_id).await.unwrap();
        assert_eq!(replayed, finding.canonical().unwrap());
    }
    assert_eq!(replay_all(&manifest, fetch).await.unwrap(), detection);
    let error = replay(&manifest, fetch, "0000000000000000")
        .await
        .unwrap_err();
    assert_eq!(error.exit(), Exit::Verification);

    let victim = manifest.tables[0].sha256.clone();
    let flipped = |sha256: String| {
        let mut bytes = blobs[&sha256].clone();
        if sha256 == victim {
            bytes[20] ^= 1;
        }
        async move { Ok::<_, String>(Bytes::from(bytes)) }
    };
    let error = replay(&manifest, flipped, &detection.findings[0].finding_id)
        .await
        .unwrap_err();
    assert_eq!(error.exit(), Exit::Verification);
}

/// What outcomes taught is part of the evidence: a wider band replays, and is told.
#[tokio::test]
async fn a_band_that_outcomes_widened_replays() {
    let (session, queries) = (session(), worked_example());
    let mut inputs = inputs();
    let before = detect(&session, &queries, &inputs).await.unwrap();
    inputs.bands.insert("surplus-replicas".to_owned(), 150);
    let detection = detect(&session, &queries, &inputs).await.unwrap();
    let (was, is) = (&before.findings[0], &detection.findings[0]);
    let half = |finding: &crate::detect::Finding| {
        finding.net_monthly_usd.unwrap() - finding.net_p10_usd.unwrap()
    };
    assert_eq!(half(is), half(was) * usd("1.5"));
    assert_eq!(is.net_monthly_usd, was.net_monthly_usd);
    assert_eq!(
        detection.findings[1].net_p10_usd,
        before.findings[1].net_p10_usd
    );
    let evidence = collect(&session, &queries, &inputs, &detection)
        .await
        .unwrap();
    let detection = detection.with_evidence(&evidence.digest);
    let blobs = &evidence.blobs;
    let fetch = |sha256: String| async move {
        blobs
            .get(&sha256)
            .map(|bytes| Bytes::from(bytes.clone()))
            .ok_or("it is not there")
    };
    let manifest =
        EvidenceManifest::from_bytes(&blobs[&evidence.digest], &evidence.digest).unwrap();
    assert_eq!(replay_all(&manifest, fetch).await.unwrap(), detection);
    let told = detection.findings[0]
        .recommendation_value()
        .unwrap()
        .unwrap();
    assert_eq!(told["band_percent"], 150);
    let silent = detection.findings[1].canonical().unwrap();
    assert!(!silent.contains("band_percent"));
}

/// Rows in another order and in several batches are the same evidence.
#[tokio::test]
async fn evidence_does_not_depend_on_the_order_of_rows() {
    let whole = ledger();
    let half = whole.num_rows() / 2;
    let (first, second) = (
        whole.slice(0, half),
        whole.slice(half, whole.num_rows() - half),
    );
    let queries = worked_example();
    let mut digests = Vec::new();
    for batches in [vec![whole.clone()], vec![second, first]] {
        let session = session();
        register(&session, "ledger", batches).unwrap();
        let detection = detect(&session, &queries, &inputs()).await.unwrap();
        digests.push(
            collect(&session, &queries, &inputs(), &detection)
                .await
                .unwrap()
                .digest,
        );
    }
    assert_eq!(digests[0], digests[1]);
}
