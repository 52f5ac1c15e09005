-- one row per interaction of own data, numbered from 0 in the order of its source:
-- external ids, and what is wrong with it
with source as (
    select
        row_number() over () - 1 as row_id,
        user_id as user_key,
        item_id as item_key,
        timestamp as moment,
        nullif(rating, '') as points
    from source_ratings
),

timed as (
    select
        *,
        try_cast(points as double) as rating,
        case
            when regexp_full_match(moment, '[0-9]{1,17}([.][0-9]*)?')
                then
                    moment::double / case
                        when moment::double < 1e11 then 1
                        when moment::double < 1e14 then 1e3
                        else 1e6
                    end
            when regexp_full_match(moment, '[0-9]{4}-[0-9]{2}-[0-9]{2}.*')
                then epoch(try_cast(moment as timestamptz))
        end as seconds
    from source
),

typed as (
    select
        row_id,
        user_key,
        item_key,
        rating,
        floor(seconds)::bigint as rated_at,
        case
            when
                coalesce(length(user_key), 0) not between 1 and 128
                or regexp_matches(user_key, '\p{Cc}')
                then
                    {
                        'column_name': 'user_id',
                        'entry': user_key,
                        'expected': '1 to 128 characters without control characters'
                    }
            when
                coalesce(length(item_key), 0) not between 1 and 128
                or regexp_matches(item_key, '\p{Cc}')
                then
                    {
                        'column_name': 'item_id',
                        'entry': item_key,
                        'expected': '1 to 128 characters without control characters'
                    }
            when coalesce(seconds, 0) not between 1 and 99999999999
                then
                    {
                        'column_name': 'timestamp',
                        'entry': moment,
                        'expected': 'a time after 1970: unix seconds, milliseconds '
                        'or microseconds, or ISO 8601'
                    }
            when
                points is not null
                and not coalesce(rating between $lowest and $highest, false)
                then
                    {
                        'column_name': 'rating',
                        'entry': points,
                        'expected': format(
                            '{:.15g} to {:.15g} (RATING_SCALE)',
                            $lowest::double,
                            $highest::double
                        )
                    }
        end as fault
    from timed
)

select * from typed
