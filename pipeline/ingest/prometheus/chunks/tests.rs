//! Round trips and hostile bytes; the truth from Prometheus itself is in `tests/it/tsdb.rs`.

use proptest::prelude::*;

use super::*;

type Pairs = Vec<(i64, u64)>;

fn floats(encoding: Encoding, data: &[u8]) -> Result<Pairs, ChunkError> {
    let mut out = Vec::new();
    decode_floats(encoding, data, |ts, _, v| out.push((ts, v.to_bits())))?;
    Ok(out)
}

fn samples() -> impl Strategy<Value = Pairs> {
    let step = prop_oneof![
        4 => Just(15_000_i64),
        2 => 14_990..15_010_i64,
        1 => 0..5_000_000_i64,
        1 => any::<i64>(),
    ];
    let bits = prop_oneof![
        4 => Just(1.5_f64.to_bits()),
        2 => Just(0x7ff0_0000_0000_0002_u64),
        3 => (0..1000_u32).prop_map(|v| f64::from(v).to_bits()),
        1 => any::<u64>(),
    ];
    (any::<i64>(), prop::collection::vec((step, bits), 0..127)).prop_map(|(start, steps)| {
        let mut ts = start;
        let next = |(step, bits)| {
            ts = ts.wrapping_add(step);
            (ts, bits)
        };
        steps.into_iter().map(next).collect()
    })
}

proptest! {
    #[test]
    fn xor_round_trips(samples in samples()) {
        prop_assert_eq!(floats(Encoding::Xor, &encode::xor(&samples)), Ok(samples));
    }

    #[test]
    fn xor2_round_trips(samples in samples()) {
        prop_assert_eq!(floats(Encoding::Xor2, &encode::xor2(&samples)), Ok(samples));
    }

    #[test]
    fn cutting_a_chunk_is_an_error_or_loses_only_padding(
        samples in samples(), cut in any::<prop::sample::Index>(),
    ) {
        let whole = encode::xor(&samples);
        let end = cut.index(whole.len());
        prop_assert!(floats(Encoding::Xor, &whole[..end]).is_err());
    }

    #[test]
    fn no_bytes_panic_or_give_more_than_they_can_hold(
        bytes in prop::collection::vec(any::<u8>(), 0..400), number in 1..=6_i64,
    ) {
        let encoding = Encoding::from_number(number).unwrap();
        let mut given = 0_usize;
        let result = if encoding.is_float() {
            decode_floats(encoding, &bytes, |_, _, _| given += 1)
        } else {
            decode_histograms(encoding, &bytes, |_, sample| given += 1 + sample.buckets.len())
        };
        prop_assert!(given <= bytes.len() * 16, "{given} from {} bytes: {result:?}", bytes.len());
    }
}

#[test]
fn an_unknown_encoding_is_an_error_that_says_its_number() {
    for number in [0, 7, 255, -1] {
        let error = Encoding::from_number(number).unwrap_err();
        assert!(error.to_string().contains(&number.to_string()));
    }
}

#[test]
fn empty_and_cut_headers() {
    for number in 1..=6 {
        let encoding = Encoding::from_number(number).unwrap();
        let decode = |bytes: &[u8]| {
            if encoding.is_float() {
                decode_floats(encoding, bytes, |_, _, _| panic!("no sample"))
            } else {
                decode_histograms(encoding, bytes, |_, _| panic!("no sample"))
            }
        };
        assert_eq!(decode(&[0, 0, 0]), Ok(()));
        assert_eq!(decode(&[0]), Err(ChunkError::Truncated));
        assert!(decode(&[0, 1]).is_err());
    }
}

#[test]
fn a_value_wider_than_its_word_is_malformed() {
    // Two samples; the second renews the window with 31 leading and 63 significant bits.
    let mut bytes = vec![0, 2, 0];
    bytes.extend([0; 8]);
    bytes.extend([1, 0xff, 0xf8, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(matches!(
        floats(Encoding::Xor, &bytes),
        Err(ChunkError::Malformed(_))
    ));
}
