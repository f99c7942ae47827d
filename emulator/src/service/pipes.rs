//! What the ingest host answers: pipes, channels, appends.

use std::borrow::Cow;
use std::io::Read;

use axum::http::HeaderValue;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Names, Service, json};
use crate::streaming::batch::{Batch, Reading};
use crate::streaming::refusal::{Refusal, TOO_LARGE};
use crate::streaming::{Open, PipeName};

/// Greatest append on the wire, bytes: 4 MB in Snowflake's documentation.
const LONGEST_APPEND: usize = 4_000_000;

/// Greatest append after decoding, bytes; the emulator's own bound.
const LONGEST_DECODED: u64 = 256 * 1024 * 1024;

/// The body of an open.
#[derive(Debug, Default, Deserialize)]
struct OpenBody {
    #[serde(default)]
    offset_token: Option<String>,
    #[serde(default)]
    fail_on_uncommitted_rows: bool,
}

impl Service {
    pub(super) fn pipe_info(&self, pipe: &PipeName) -> Result<Response, Refusal> {
        self.streaming().table_of(pipe)?;
        let expires = self.clock.steady() + 3_600_000;
        let stage = stage(expires);
        Ok(json(
            200,
            &json!({
                "rowset_stage_location": stage,
                "durable_stage_location": stage,
                "encryption_info": {
                    "pipe_key": "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=",
                    "pipe_key_id": "1",
                    "diversifier": "emulator",
                },
                "parameter_overrides": {},
            }),
        ))
    }

    pub(super) fn open(
        &self,
        pipe: &PipeName,
        channel: &str,
        body: &[u8],
        code: Option<&str>,
    ) -> Result<Response, Refusal> {
        let body = if body.trim_ascii().is_empty() { OpenBody::default() } else { read_json(body)? };
        let open = Open { offset_token: body.offset_token, fail_on_uncommitted_rows: body.fail_on_uncommitted_rows };
        let now = self.clock.steady();
        let mut streaming = self.streaming();
        let mut opened = streaming.open(now, pipe, channel, open)?;
        if let Some(code) = code {
            streaming.invalidate(pipe, channel, code);
            code.clone_into(&mut opened.channel_status.channel_status_code);
        }
        Ok(json(200, &json!(opened)))
    }

    pub(super) fn status(&self, pipe: &PipeName, body: &[u8]) -> Result<Response, Refusal> {
        let names: Names = read_json(body)?;
        let statuses = self.streaming().statuses(self.clock.steady(), pipe, &names.channel_names)?;
        Ok(json(200, &json!({"channel_statuses": statuses})))
    }

    pub(super) fn drop_channel(&self, pipe: &PipeName, channel: &str) -> Result<Response, Refusal> {
        self.streaming().drop_channel(self.clock.steady(), pipe, channel)?;
        Ok(json(200, &json!({})))
    }

    pub(super) fn append(
        &self,
        pipe: &PipeName,
        channel: &str,
        parts: &Parts,
        body: &[u8],
        reject: u64,
    ) -> Result<Response, Refusal> {
        if body.len() > LONGEST_APPEND {
            let message = format!("append of {} bytes, at most {LONGEST_APPEND} are allowed", body.len());
            return Err(Refusal::new(413, TOO_LARGE, message));
        }
        self.streaming().admit(self.clock.steady(), pipe, channel)?;
        let kind = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        if kind.is_none_or(|kind| !kind.starts_with(b"application/x-ndjson")) {
            let message = "content type is not application/x-ndjson";
            return Err(Refusal::new(415, "ERR_UNSUPPORTED_MEDIA_TYPE", message));
        }
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let field = |name: &str| {
            let found = form_urlencoded::parse(query).find(|(key, _)| key == name);
            found.map(|(_, value)| value.into_owned())
        };
        let Some(continuation) = field("continuationToken") else {
            return Err(Refusal::new(400, "ERR_MISSING_CONTINUATION_TOKEN", "continuationToken is missing"));
        };
        let body = decode(body, parts.headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes))?;
        let table = self.streaming().table_of(pipe)?;
        let how = Reading { keep: self.options.keep, strict: self.options.strict_columns, reject };
        let batch = Batch::read(&body, &table, how);
        let end = field("endOffsetToken");
        let next = self.streaming().append(self.clock.steady(), pipe, channel, &continuation, end, batch)?;
        let mut answer = json(200, &json!({"next_continuation_token": next}));
        answer.headers_mut().insert("x-snowflake-session", HeaderValue::from_static("emulator"));
        Ok(answer)
    }
}

fn read_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::new(400, "ERR_INVALID_REQUEST", format!("body cannot be read: {error}")))
}

fn decode<'a>(body: &'a [u8], encoding: Option<&[u8]>) -> Result<Cow<'a, [u8]>, Refusal> {
    let refuse = |why: String| Refusal::new(400, "ERR_INVALID_REQUEST", why);
    let decoder: Box<dyn Read> = match encoding {
        None | Some(b"identity") => return Ok(Cow::Borrowed(body)),
        Some(b"zstd") => Box::new(zstd::Decoder::with_buffer(body).map_err(|error| refuse(error.to_string()))?),
        Some(b"gzip") => Box::new(flate2::read::MultiGzDecoder::new(body)),
        Some(other) => {
            let message = format!("content encoding {} is neither zstd nor gzip", String::from_utf8_lossy(other));
            return Err(Refusal::new(415, "ERR_UNSUPPORTED_MEDIA_TYPE", message));
        }
    };
    let mut decoded = Vec::new();
    let read = decoder.take(LONGEST_DECODED + 1).read_to_end(&mut decoded);
    read.map_err(|error| refuse(format!("body cannot be decoded: {error}")))?;
    if decoded.len() as u64 > LONGEST_DECODED {
        return Err(Refusal::new(413, TOO_LARGE, format!("append of more than {LONGEST_DECODED} bytes decoded")));
    }
    Ok(Cow::Owned(decoded))
}

/// A stage that Snowflake's SDK can read and nobody can reach: the emulator has no file mode.
fn stage(expires_ms: u64) -> Value {
    json!({
        "expiry_time_ms": expires_ms,
        "location_type": "S3",
        "location": "s3://emulator/none/",
        "storage_endpoint": "",
        "use_s3_regional_url": true,
        "region": "us-east-1",
        "endpoint": null,
        "storage_account": "",
        "bucket_name": "emulator",
        "path_prefix": "none",
        "use_fips": false,
        "creds": {"AWS_KEY_ID": "none", "AWS_SECRET_KEY": "bm9uZQ==", "AWS_TOKEN": "none"},
        "parameters": {
            "max_client_lag_seconds": 1,
            "rowset_flush_threshold_kb": 4096,
            "max_buffered_kb_for_rowset_mode": 65535,
            "rowset_threshold_lookback_seconds": 60,
            "rowset_threshold_ewma_weight": 50,
            "target_file_size_compressed_mb": 64,
            "cpu_throttle_high_watermark_percent": 95,
            "cpu_throttle_low_watermark_percent": 90,
            "mem_throttle_high_watermark_percent": 95,
            "mem_throttle_low_watermark_percent": 90,
        },
    })
}
