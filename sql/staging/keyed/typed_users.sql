-- one row per user of own data, numbered from 0 in the order of its source: external
-- id, and what is wrong with it
with source as (
    select
        row_number() over () - 1 as row_id,
        user_id as user_key,
        nullif(trim(age), '') as given_age,
        -- F and M, however they are written
        nullif(upper(left(trim(gender), 1)), '') as gender,
        nullif(trim(occupation), '') as occupation
    from source_users
),

numbered as (
    select
        *,
        row_number() over (partition by user_key order by row_id) as nth
    from source
),

typed as (
    select
        row_id,
        user_key,
        try_cast(try_cast(given_age as double) as integer) as age,
        gender,
        occupation,
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
            when nth > 1
                then
                    {
                        'column_name': 'user_id',
                        'entry': user_key,
                        'expected': 'each user once'
                    }
            when
                given_age is not null
                and not coalesce(
                    try_cast(given_age as double) between 0 and 150, false
                )
                then
                    {
                        'column_name': 'age',
                        'entry': given_age,
                        'expected': 'years, or nothing'
                    }
        end as fault
    from numbered
)

select * from typed
