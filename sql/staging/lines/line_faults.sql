-- one row per raw file with a malformed line: the first such line
with lines as (
    select
        row_number() over () as line_number,
        line
    from
        read_csv(
            $path,
            -- a character that no file contains, so that each line is one value
            delim = '\x1f',
            header = false,
            quote = '',
            escape = '',
            auto_detect = false,
            hive_partitioning = false,
            max_line_size = $max_line_bytes,
            encoding = $encoding,
            columns = { 'line': 'VARCHAR' }
        )
),

-- splitting all lines of ratings at their delimiters would take ten times as long
unusual as (
    select
        line_number,
        line
    from lines
    where
        line_number > $n_headers
        and line is not null -- blank
        and not (
            'rating' in $columns
            and regexp_full_match(
                line,
                concat_ws(
                    $delimiter,
                    '0*[1-9][0-9]{0,8}',
                    '0*[1-9][0-9]{0,8}',
                    $usual_rating,
                    '0*[1-9][0-9]{0,10}'
                )
            )
        )
),

parted as (
    select
        line_number,
        line,
        case
            when $delimiter != ',' then string_split(line, $delimiter)
            when
                regexp_full_match(
                    line, '("([^"]|"")*"|[^",]*)(,("([^"]|"")*"|[^",]*))*'
                )
                then regexp_extract_all(line, '(?:^|,)("(?:[^"]|"")*"|[^",]*)', 1)
        end as cells
    from unusual
),

misshapen as (
    select
        line_number,
        0 as position,
        line,
        case
            when contains(line, chr(0))
                then 'a NUL byte: the file is damaged, or not UTF-8'
            when
                $encoding = 'latin-1'
                and not regexp_full_match(line, '[\x00-\x7f]*')
                and regexp_full_match(
                    line,
                    concat_ws(
                        '|',
                        '([\x00-\x7f]',
                        '[\xc2-\xdf][\x80-\xbf]',
                        '[\xe0-\xef][\x80-\xbf]{2}',
                        '[\xf0-\xf4][\x80-\xbf]{3})*'
                    )
                )
                then 'UTF-8, where other lines are Latin-1: save the file as UTF-8'
            when $delimiter = '::' and contains(line, ':::')
                then 'three colons, of which any two could separate the columns'
            when cells is null then 'a quote that does not enclose a whole column'
            when len(cells) != len($columns)
                then
                    format(
                        '{} columns, expected {} separated by ''{}''',
                        len(cells),
                        len($columns),
                        replace($delimiter, chr(9), '\t')
                    )
        end as fault
    from parted
    where fault is not null
),

named as (
    select
        line_number,
        line,
        unnest(range(1, len($columns) + 1)) as position,
        unnest($columns) as column_name,
        unnest(cells) as cell
    from parted
    where len(cells) = len($columns)
),

judged as (
    select
        line_number,
        position,
        line,
        column_name,
        if(
            $delimiter = ',' and starts_with(cell, '"'),
            replace(cell[2:-2], '""', '"'),
            cell
        ) as entry,
        case
            when
                column_name in ('user_id', 'item_id')
                and not (
                    regexp_full_match(entry, '[0-9]{1,20}')
                    and try_cast(entry as hugeint) between 1 and 2147483647
                )
                then 'a whole number from 1 to 2147483647'
            when
                column_name = 'rating'
                and not (
                    regexp_full_match(entry, '[0-9]{1,20}([.][0-9]{0,20})?')
                    and try_cast(entry as double) between $lowest and $highest
                )
                then
                    format(
                        '{:.15g} to {:.15g} (RATING_SCALE)',
                        $lowest::double,
                        $highest::double
                    )
            when
                column_name = 'rated_at'
                and not (
                    regexp_full_match(entry, '[0-9]{1,20}')
                    and try_cast(entry as hugeint) between 1 and 99999999999
                )
                then 'seconds since 1970, of eleven digits at most'
            when
                column_name = 'age'
                and not (
                    regexp_full_match(entry, '[0-9]{0,3}')
                    and coalesce(try_cast(entry as integer), 0) <= 150
                )
                then 'years, or nothing'
            when
                column_name = 'occupation_code'
                and not regexp_full_match(entry, '[0-9]{0,3}')
                then 'a code, or nothing'
            when starts_with(column_name, 'genre_') and entry not in ('0', '1')
                then '0 or 1'
            when
                column_name = 'released_on'
                and not regexp_full_match(entry, '(.*[0-9]{4})?')
                then 'a date that ends with its year, or nothing'
            when column_name = 'title' and not regexp_matches(entry, '\S')
                then 'a text'
            when
                column_name = 'genres'
                and not (
                    regexp_full_match(entry, '([^|]+([|][^|]+)*)?')
                    and len(string_split(entry, '|'))
                    = list_unique(string_split(entry, '|'))
                )
                then 'names separated by |, each once, or nothing'
        end as expected
    from named
),

faults as (
    select
        line_number,
        position,
        line,
        column_name,
        entry,
        expected
    from judged
    where expected is not null
    union all by name
    select * from misshapen
),

first_fault as (
    select
        line_number,
        fault,
        column_name,
        entry[:80] as entry,
        expected,
        line[:200] as excerpt
    from faults
    order by
        line_number,
        position
    limit 1
)

select * from first_fault
