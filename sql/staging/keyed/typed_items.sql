-- one row per item of own data, numbered from 0 in the order of its source: external
-- id, and what is wrong with it
with source as (
    select
        row_number() over () - 1 as row_id,
        source_items.item_id as item_key,
        trim(source_items.title) as title,
        nullif(trim(source_items.year), '') as given_year,
        string_split(coalesce(source_items.genres, ''), '|') as genres
    from source_items
),

numbered as (
    select
        *,
        row_number() over (partition by item_key order by row_id) as nth
    from source
),

typed as (
    select
        row_id,
        item_key,
        title,
        try_cast(try_cast(given_year as double) as integer) as release_year,
        list_sort(
            list_distinct(
                list_filter(
                    list_transform(genres, lambda genre: trim(genre)),
                    lambda genre: genre != ''
                )
            )
        ) as genres,
        case
            when
                coalesce(length(item_key), 0) not between 1 and 128
                or regexp_matches(item_key, '\p{Cc}')
                then
                    {
                        'column_name': 'item_id',
                        'entry': item_key,
                        'expected': '1 to 128 characters without control characters'
                    }
            when nth > 1
                then
                    {
                        'column_name': 'item_id',
                        'entry': item_key,
                        'expected': 'each item once'
                    }
            when
                given_year is not null
                and not coalesce(
                    try_cast(given_year as double) between 0 and 9999, false
                )
                then
                    {
                        'column_name': 'year',
                        'entry': given_year,
                        'expected': 'a year, or nothing'
                    }
        end as fault
    from numbered
)

select * from typed
