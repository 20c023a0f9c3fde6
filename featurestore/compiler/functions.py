"""The allowlist of functions, and of names passed to functions as text: units of time and aggregates of lists.

It has deterministic functions without side effects, so that training and serving agree. Names are sqlglot's class names for functions
that it knows, and DuckDB's names for the others.
"""

ROW_FUNCTIONS = frozenset(
    (
        "ArrayMax ArrayMin "
        "Abs Acos ArrayContains ArrayDistinct ArraySize ArraySort ArrayToString Ascii Asin Atan Atan2 Cbrt Ceil Chr Coalesce Concat "
        "ConcatWs Contains Cos Cosh Cot Date DateAdd DateBin DateDiff DateFromParts DateStrToDate DateSub DateTrunc Day DayOfMonth "
        "DayOfWeek DayOfWeekIso DayOfYear Degrees EndsWith Exp Extract Floor Greatest Hex Hour Initcap IsInf IsNan LastDay Least Left "
        "Length Levenshtein Ln Log Lower MD5 Minute Month Nullif Pad Pi Pow Quarter Radians RegexpExtract RegexpFullMatch RegexpLike "
        "RegexpReplace RegexpSplit Repeat Replace Reverse Right Round SHA SHA2 Second Sign Sin Sinh Split SplitPart Sqrt StartsWith "
        "StrPosition StrToDate StrToTime StrToUnix StringToArray Substring Tan Tanh TimeToStr TimeToUnix Timestamp TimestampDiff "
        "TimestampFromParts TimestampTrunc Translate Trim Trunc TsOrDsToDate Unicode UnixToTime Upper Week WeekOfYear Year"
    ).split()
)

ANONYMOUS_ROW_FUNCTIONS = frozenset(
    (
        "bar bit_count century contains date_add date_part date_sub datepart datesub dayname decade ends_with epoch epoch_ms epoch_ns "
        "epoch_us era even factorial gamma gcd hamming instr isfinite isinf isnan isodow isoyear jaccard jaro_similarity "
        "jaro_winkler_similarity lcm len lgamma list_aggregate list_avg list_contains list_count list_distinct list_element list_extract "
        "list_first list_has list_last list_max list_median list_min list_position list_sort list_sum list_unique ltrim make_date "
        "make_timestamp make_timestamptz millennium monthname nextafter ord prefix regexp_full_match rtrim signbit starts_with "
        "strip_accents strlen suffix time_bucket to_days to_hours to_microseconds to_milliseconds to_minutes to_months to_seconds "
        "to_timestamp to_weeks to_years trunc try_strptime weekday weekofyear yearweek"
    ).split()
)

LINEAR_FUNCTIONS = frozenset(
    (
        "Abs Acos ArrayContains ArrayDistinct ArrayMax ArrayMin ArraySize ArraySort Ascii Asin Atan Atan2 Cbrt Ceil Chr Coalesce Concat "
        "ConcatWs Cos Cosh Cot Date DateAdd DateBin DateDiff DateFromParts DateStrToDate DateSub DateTrunc Day DayOfMonth DayOfWeek "
        "DayOfWeekIso DayOfYear Degrees EndsWith Exp Extract Floor Greatest Hour Initcap IsInf IsNan LastDay Least Left Length Ln "
        "Log Lower MD5 Minute Month Nullif Pi Pow Quarter Radians Reverse Right Round SHA SHA2 Second Sign Sin Sinh Sqrt StartsWith "
        "StrToDate StrToTime StrToUnix Substring Tan Tanh TimeToStr TimeToUnix Timestamp TimestampDiff TimestampFromParts "
        "TimestampTrunc Trunc TsOrDsToDate Unicode UnixToTime Upper Week WeekOfYear Year"
    ).split()
)
LINEAR_ANONYMOUS_FUNCTIONS = frozenset(
    (
        "bit_count century date_add date_part date_sub datepart datesub dayname decade ends_with epoch epoch_ms epoch_ns epoch_us "
        "era even factorial gamma gcd hamming isfinite isinf isnan isodow isoyear lcm len lgamma list_aggregate list_avg list_contains "
        "list_count list_distinct list_element list_extract list_first list_last list_max list_median list_min list_position list_sort "
        "list_sum list_unique make_date make_timestamp make_timestamptz millennium monthname nextafter ord prefix signbit starts_with "
        "strlen suffix time_bucket to_days to_hours to_microseconds to_milliseconds to_minutes to_months to_seconds to_timestamp "
        "to_weeks to_years trunc weekday weekofyear yearweek"
    ).split()
)
"""Functions whose time is linear in the length n of their arguments (or n log n), and whose result is no longer than these.

A call of other functions may take hours and cannot be interrupted: searches, replacements, patterns, text distances, padding. Or the
result is longer than the argument, and grows when calls are nested: `hex`, `bar`.
"""

QUERY_FUNCTIONS = ROW_FUNCTIONS | frozenset(
    (
        "ArgMax ArgMin ArrayAgg Avg Corr Count CountIf CovarPop CovarSamp CumeDist DenseRank First FirstValue Lag Last LastValue Lead "
        "LogicalAnd LogicalOr Max Median Min NthValue Ntile PercentRank PercentileCont PercentileDisc Quantile Rank RowNumber Stddev "
        "StddevPop StddevSamp Sum Variance VariancePop"
    ).split()
)

ANONYMOUS_QUERY_FUNCTIONS = ANONYMOUS_ROW_FUNCTIONS | frozenset(
    ("arg_max arg_min bool_and bool_or count_star dense_rank max_by min_by product quantile_cont quantile_disc rank row_number").split()
)

NONDETERMINISTIC = frozenset(
    (
        "any_value anyvalue approx_count_distinct approx_quantile approxdistinct current_date current_schema current_time "
        "current_timestamp current_user currentdate currentdatetime currenttime currenttimestamp currentuser currval gen_random_uuid "
        "get_current_timestamp localtime localtimestamp nextval now rand random setseed today transaction_timestamp txid_current uuid "
        "uuidv4 uuidv7 version"
    ).split()
)

LIST_AGGREGATES = frozenset(
    (
        "avg bit_and bit_or bit_xor bool_and bool_or count entropy first kurtosis kurtosis_pop last mad max mean median min product "
        "sem skewness stddev stddev_pop stddev_samp string_agg sum var_pop var_samp variance"
    ).split()
)
"""The aggregates that `list_aggregate` may compute: lists are ordered, so these are deterministic."""

UNITS = frozenset(
    (
        "millennium millennia mil century centuries cent c decade decades dec decs year years yr yrs y quarter quarters month months mon "
        "mons week weeks w day days d dayofmonth hour hours hr hrs h minute minutes min mins m second seconds sec secs s millisecond "
        "milliseconds ms msec msecs microsecond microseconds us usec usecs nanosecond nanoseconds ns nsec nsecs epoch era isoyear dow "
        "weekday dayofweek isodow doy dayofyear weekofyear yearweek weekyear julian timezone timezone_hour timezone_minute"
    ).split()
)
"""Units and parts of time."""

UNIT_FIRST = frozenset("date_part datepart date_sub datesub".split())
"""Functions unknown to sqlglot whose first argument is a unit of time."""

VALUE_NAMES = frozenset(
    (
        "current_catalog current_date current_role current_schema current_time current_timestamp current_user localtime localtimestamp "
        "session_user user"
    ).split()
)
"""Names that DuckDB resolves to functions if there is no such column, quoted or not."""

HIDDEN_COLUMNS = frozenset("file_index file_row_number filename rowid".split())
"""Columns that DuckDB adds to tables and files."""
