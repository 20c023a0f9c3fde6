"""The white list: which SQL a user may write, by node and by function name.

A function is on it when it gives the same answer for the same input everywhere and has no side effect, so that
training and serving agree. Names are sqlglot's class names for what it knows, DuckDB's own names for the rest.
"""

ROW_NODES = frozenset(
    (
        "Add Alias And Array AtTimeZone Between BitwiseAnd BitwiseLeftShift BitwiseNot BitwiseOr BitwiseRightShift BitwiseXor Boolean "
        "Bracket Case Cast Column DPipe DataType DataTypeParam Div Dot EQ Escape GT GTE ILike Identifier If In IntDiv Interval Is LT LTE "
        "Like Literal Mod Mul NEQ Neg Not Null NullSafeEQ NullSafeNEQ Or Paren RegexpILike SimilarTo Slice Sub TryCast Tuple Var Xor"
    ).split()
)

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

QUERY_NODES = ROW_NODES | frozenset(
    (
        "All Any CTE Cube Distinct Except Exists Fetch Filter From Group GroupingSets Having IgnoreNulls Intersect Join Lateral Limit "
        "Offset Order Ordered Qualify RespectNulls Rollup Select Star Subquery Table TableAlias Union Unnest Values Where Window "
        "WindowSpec With WithinGroup"
    ).split()
)

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

UNSTEADY = frozenset(
    (
        "any_value anyvalue approx_count_distinct approx_quantile approxdistinct current_date current_schema current_time "
        "current_timestamp current_user currentdate currentdatetime currenttime currenttimestamp currentuser currval gen_random_uuid "
        "get_current_timestamp localtime localtimestamp nextval now rand random setseed today transaction_timestamp txid_current uuid "
        "uuidv4 uuidv7 version"
    ).split()
)
