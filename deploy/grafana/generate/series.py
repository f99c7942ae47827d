"""Series of buckets in which a pause is seen, and no line drawn across it."""


def with_pauses(source, relation, keys, values, least_ms):
    """The relations `succeeded` and `points`, to stand after one that has bucket_ms, `keys` and `values`.

    `points` has the same columns, and behind each bucket that no other follows soon one of nulls. Soon: within three
    buckets of the panel or `least_ms`, whichever is longer. `keys` are what makes a series.
    """
    named, valued = ", ".join(keys), ", ".join(values)
    partition = f"PARTITION BY {named} " if keys else ""
    keyed = f"{named}, " if keys else ""
    pause = f"CASE WHEN 3 * {source.bucket_ms} > {least_ms} THEN 3 * {source.bucket_ms} ELSE {least_ms} END"
    return f"""
        succeeded AS (
          SELECT bucket_ms, {keyed}{valued},
                 LEAD(bucket_ms) OVER ({partition}ORDER BY bucket_ms) AS next_ms
            FROM {relation}
        ), points AS (
          SELECT bucket_ms, {keyed}{valued} FROM succeeded
          UNION ALL
          SELECT bucket_ms + {source.bucket_ms}, {keyed}{", ".join("NULL" for _ in values)}
            FROM succeeded
           WHERE next_ms - bucket_ms > {pause}
        )"""
