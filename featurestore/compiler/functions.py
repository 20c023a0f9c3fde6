"""The white list: which SQL a user may write, by node and by function name.

A function is on it when it gives the same answer for the same input everywhere and has no side effect, so that
training and serving agree. Names are sqlglot's class names for what it knows, DuckDB's own names for the rest.
"""

ROW_NODES = frozenset(
    "Add Alias And Array AtTimeZone Between BitwiseAnd BitwiseLeftShift BitwiseNot BitwiseOr BitwiseRightShift BitwiseXor Boolean Bracket"
    " Case Cast Column DPipe DataType DataTypeParam Div Dot EQ Escape GT GTE ILike Identifier If In IntDiv Interval Is LT LTE Like Literal"
    " Mod Mul NEQ Neg Not Null NullSafeEQ NullSafeNEQ Or Paren Slice Sub TryCast Tuple Var Xor SimilarTo RegexpILike".split()
)

ROW_FUNCTIONS = frozenset(
    "Abs Acos ArrayContains ArrayDistinct ArraySize ArraySort ArrayToString Ascii Asin Atan Atan2 Cbrt Ceil Chr Coalesce Concat"
    " ConcatWs Contains Cos Cosh Cot Date DateAdd DateBin DateDiff DateFromParts DateStrToDate DateSub DateTrunc Day DayOfMonth"
    " DayOfWeek DayOfWeekIso DayOfYear Degrees EndsWith Exp Extract Floor Greatest Hex Hour Initcap IsInf IsNan LastDay"
    " Least Left Length Levenshtein Ln Log Lower MD5 Minute Month Nullif Pad Pi Pow Quarter Radians"
    " RegexpExtract RegexpLike RegexpReplace Repeat Replace Reverse Right Round SHA SHA2 Second Sign Sin Sinh SplitPart Sqrt StartsWith"
    " StrPosition StrToDate StrToTime StrToUnix Substring Tan Tanh TimeToStr TimeToUnix Timestamp TimestampDiff TimestampFromParts"
    " TimestampTrunc Translate Trim Trunc TsOrDsToDate UnixToTime Unicode Upper Week WeekOfYear Year"
    "  Split RegexpSplit RegexpFullMatch StringToArray ".split()
)

ANONYMOUS_ROW_FUNCTIONS = frozenset(
    "bar bit_count century contains date_add date_part datepart datesub date_sub dayname decade ends_with epoch epoch_ms epoch_ns epoch_us era even"
    " factorial finite gamma gcd hamming instr isfinite isodow isoyear jaccard jaro_similarity jaro_winkler_similarity lcm len lgamma"
    " list_aggregate list_avg list_contains list_count list_distinct list_element list_extract list_first list_has list_last list_max"
    " list_median list_min list_position list_sort list_sum list_unique ltrim make_date make_timestamp make_timestamptz millennium monthname nextafter"
    " ord prefix regexp_full_match rtrim signbit starts_with strip_accents strlen suffix time_bucket to_days to_hours to_microseconds to_milliseconds"
    " to_minutes to_months to_seconds to_timestamp to_weeks to_years trunc try_strptime weekday weekofyear yearweek isinf isnan".split()
)

QUERY_NODES = ROW_NODES | frozenset(
    "All Any CTE Distinct Except Exists Fetch Filter From Group GroupingSets Having Intersect Join Lateral Limit Offset Order Ordered"
    " Qualify Select Star Subquery Table TableAlias Tuple Union Unnest Values Where Window WindowSpec With WithinGroup IgnoreNulls RespectNulls"
    " Rollup Cube".split()
)

QUERY_FUNCTIONS = ROW_FUNCTIONS | frozenset(
    "ArgMax ArgMin ArrayAgg Avg Corr Count CountIf CovarPop CovarSamp CumeDist DenseRank First FirstValue Lag Last"
    " LastValue Lead LogicalAnd LogicalOr Max Median Min NthValue Ntile PercentRank PercentileCont PercentileDisc Quantile Rank RowNumber"
    " Stddev StddevPop StddevSamp Sum Variance VariancePop".split()
)

ANONYMOUS_QUERY_FUNCTIONS = ANONYMOUS_ROW_FUNCTIONS | frozenset(
    "arg_max arg_min bool_and bool_or count_star max_by min_by quantile_cont quantile_disc row_number rank dense_rank product".split()
)

UNSTEADY = frozenset(
    "now current_date current_timestamp current_time localtime localtimestamp today transaction_timestamp get_current_timestamp random rand uuid"
    " gen_random_uuid uuidv4 uuidv7 setseed nextval currval txid_current version currentdate currenttimestamp currenttime currentuser"
    " current_user currentdatetime current_schema any_value approx_count_distinct approx_quantile anyvalue approxdistinct".split()
)
