-- one row per item_id of ml-1m's or ml-10m's movies.dat
with source as (
    select *
    from
        read_csv(
            $items_path,
            delim = '::',
            header = false,
            quote = '',
            escape = '',
            auto_detect = false,
            hive_partitioning = false,
            encoding = $encoding,
            columns = {
                'item_id': 'INTEGER',
                'title': 'VARCHAR',
                'genres': 'VARCHAR'
            }
        )
),

described as (
    select
        item_id,
        trim(title) as title,
        -- the last of several years; the first year of a range like (2006–2007)
        try_cast(
            regexp_extract(title, '.*\((\d{4})(?:\s*[-–]\s*\d{0,4}\s*)?\)', 1)
            as integer
        ) as release_year,
        list_filter(
            string_split(coalesce(genres, ''), '|'),
            lambda genre: genre not in ('', '(no genres listed)')
        ) as genres,
        cast(item_id as varchar) as item_key,
        true as is_listed
    from source
)

select * from described
