//! Owns measurements that a user gives: the result files of guidellm, `vllm bench serve` and
//! Dynamo's profiler, as points of one placement.
//!
//! It takes text and gives points; who reads the file and which placement it speaks for is the
//! configuration's business. Files are hostile: sizes are bounded by the reader, every number is
//! checked, and a file without a usable point is an error.

use serde_json::Value;

use super::estimator::Shape;
use super::speed::SpeedPoint;

/// Measurements of one model on a number of one product.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// A catalogue id.
    pub model: String,
    pub gpu_product: String,
    pub gpus: i64,
    /// The stored word; `None` speaks for the checkpoint's own type.
    pub quantisation: Option<String>,
    /// How explanations call it: the file's name in the configuration.
    pub name: String,
    pub points: Vec<SpeedPoint>,
}

/// Which program wrote a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    GuideLlm,
    VllmBench,
    DynamoProfile,
}

/// What is wrong with a measurement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("measurement {name}: {what}")]
pub struct MeasuredError {
    pub name: String,
    pub what: String,
}

impl Format {
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "guidellm" => Some(Self::GuideLlm),
            "vllm-bench" => Some(Self::VllmBench),
            "dynamo" => Some(Self::DynamoProfile),
            _ => None,
        }
    }
}

/// The points of a result file.
pub fn read_points(
    name: &str,
    format: Format,
    text: &str,
) -> Result<Vec<SpeedPoint>, MeasuredError> {
    let fail = |what: String| MeasuredError {
        name: name.to_owned(),
        what,
    };
    let points = if format == Format::DynamoProfile && !text.trim_start().starts_with(['{', '[']) {
        dynamo_csv(text).map_err(fail)?
    } else {
        let value: Value =
            serde_json::from_str(text).map_err(|error| fail(format!("no JSON: {error}")))?;
        match format {
            Format::GuideLlm => guidellm(&value),
            Format::VllmBench => vllm_bench(&value),
            Format::DynamoProfile => rows_of(&value)
                .iter()
                .filter_map(|row| dynamo_row(&|name| number(row.get(name)?)))
                .collect(),
        }
    };
    if points.is_empty() {
        return Err(fail(
            "no row has a concurrency, prompt and output lengths and an inter-token time"
                .to_owned(),
        ));
    }
    Ok(points)
}

fn number(value: &Value) -> Option<f64> {
    value
        .as_f64()
        .or_else(|| value.as_str()?.trim().parse().ok())
        .filter(|number| number.is_finite() && *number > 0.0)
}

/// A point whose numbers can be true of a serving engine.
fn point(
    batch: Option<f64>,
    itl_ms: Option<f64>,
    ttft_ms: Option<f64>,
    prompt: Option<f64>,
    output: Option<f64>,
) -> Option<SpeedPoint> {
    let prompt_tokens = prompt?;
    Some(SpeedPoint {
        batch: batch.filter(|batch| *batch <= 1e5)?,
        itl_seconds: itl_ms.filter(|ms| *ms <= 1e5)? / 1e3,
        ttft_seconds: ttft_ms.map(|ms| ms / 1e3),
        shape: Shape {
            prompt_tokens,
            uncached_prompt_tokens: prompt_tokens,
            output_tokens: output?,
        },
    })
}

fn rows_of(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(rows) => rows.iter().collect(),
        Value::Object(_) => ["results", "data", "rows"]
            .iter()
            .find_map(|key| value.get(key)?.as_array())
            .map_or_else(|| vec![value], |rows| rows.iter().collect()),
        _ => Vec::new(),
    }
}

/// guidellm's report: `benchmarks[].metrics.<name>.successful.mean`.
fn guidellm(value: &Value) -> Vec<SpeedPoint> {
    let benchmarks = value.get("benchmarks").and_then(Value::as_array);
    benchmarks
        .into_iter()
        .flatten()
        .filter_map(|benchmark| {
            let metrics = benchmark.get("metrics")?;
            let mean = |names: &[&str]| {
                names.iter().find_map(|name| {
                    let metric = metrics.get(name)?;
                    let of = metric.get("successful").unwrap_or(metric);
                    number(of.get("mean")?)
                })
            };
            point(
                mean(&["request_concurrency"]),
                mean(&["inter_token_latency_ms", "time_per_output_token_ms"]),
                mean(&["time_to_first_token_ms"]),
                mean(&["prompt_token_count", "prompt_tokens"]),
                mean(&["output_token_count", "output_tokens"]),
            )
        })
        .collect()
}

/// `vllm bench serve --save-result`: one object a run; several runs as a list.
fn vllm_bench(value: &Value) -> Vec<SpeedPoint> {
    rows_of(value)
        .into_iter()
        .filter_map(|run| {
            let get = |name: &str| number(run.get(name)?);
            let requests = get("completed")?;
            let (input, output) = (get("total_input_tokens")?, get("total_output_tokens")?);
            let tpot_ms = get("mean_tpot_ms").or_else(|| get("mean_itl_ms"))?;
            let output_each = output / requests;
            // By Little's law, where no concurrency was set: the rate times the decoding time.
            let batch = get("max_concurrency")
                .or_else(|| Some(requests / get("duration")? * output_each * tpot_ms / 1e3));
            point(
                batch,
                Some(tpot_ms),
                get("mean_ttft_ms"),
                Some(input / requests),
                Some(output_each),
            )
        })
        .collect()
}

/// Dynamo's profiling and AIConfigurator's tables: one row a point.
fn dynamo_row(get: &dyn Fn(&str) -> Option<f64>) -> Option<SpeedPoint> {
    let any = |names: &[&str]| names.iter().find_map(|name| get(name));
    point(
        any(&["concurrency", "batch_size", "num_request", "bs"]),
        any(&["itl_ms", "tpot_ms", "itl", "tpot"]),
        any(&["ttft_ms", "ttft"]),
        any(&["isl", "input_sequence_length"]),
        any(&["osl", "output_sequence_length"]),
    )
}

fn dynamo_csv(text: &str) -> Result<Vec<SpeedPoint>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let mut points = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        points.extend(dynamo_row(&|name| {
            let at = header.iter().position(|column| column == name)?;
            record
                .get(at)?
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite() && *number > 0.0)
        }));
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guidellm_reports_are_read() {
        let text = r#"{"benchmarks":[
          {"metrics":{"request_concurrency":{"successful":{"mean":1.0}},
            "inter_token_latency_ms":{"successful":{"mean":21.5}},
            "time_to_first_token_ms":{"successful":{"mean":80.0}},
            "prompt_token_count":{"successful":{"mean":512.0}},
            "output_token_count":{"successful":{"mean":128.0}}}},
          {"metrics":{"request_concurrency":{"successful":{"mean":8.0}},
            "inter_token_latency_ms":{"successful":{"mean":24.0}},
            "prompt_token_count":{"successful":{"mean":512.0}},
            "output_token_count":{"successful":{"mean":128.0}}}},
          {"metrics":{}}]}"#;
        let points = read_points("g.json", Format::GuideLlm, text).unwrap();
        assert_eq!(points.len(), 2);
        assert_eq!((points[0].batch, points[0].itl_seconds), (1.0, 0.0215));
        assert_eq!(points[1].ttft_seconds, None);
    }

    #[test]
    fn vllm_bench_runs_are_read_with_and_without_a_concurrency() {
        let run = |extra: &str| {
            format!(
                r#"{{"completed":100,"duration":50.0,"total_input_tokens":51200,
                "total_output_tokens":20000,"mean_tpot_ms":20.0,"mean_ttft_ms":90.0{extra}}}"#
            )
        };
        let text = format!("[{},{}]", run(r#","max_concurrency":16"#), run(""));
        let points = read_points("v.json", Format::VllmBench, &text).unwrap();
        assert_eq!(
            (points[0].batch, points[0].shape.prompt_tokens),
            (16.0, 512.0)
        );
        // Two requests a second for 200 tokens of 20 ms.
        assert!((points[1].batch - 8.0).abs() < 1e-9);
    }

    #[test]
    fn dynamo_tables_are_read_as_csv_and_json() {
        let csv = "isl,osl,concurrency,itl_ms,ttft_ms\n3000,150,4,12.5,210\n3000,150,none,1,1\n";
        let points = read_points("d.csv", Format::DynamoProfile, csv).unwrap();
        assert_eq!(points.len(), 1);
        let json = r#"[{"isl":3000,"osl":150,"concurrency":4,"tpot":12.5,"ttft":210}]"#;
        assert_eq!(
            read_points("d.json", Format::DynamoProfile, json).unwrap(),
            points
        );
    }

    #[test]
    fn files_without_a_point_say_so() {
        for (format, text) in [
            (Format::GuideLlm, "{}"),
            (Format::VllmBench, r#"{"completed":0}"#),
            (Format::VllmBench, "nonsense"),
            (Format::DynamoProfile, "a,b\n1,2\n"),
        ] {
            assert!(read_points("x", format, text).is_err());
        }
    }
}
