-- one row per rating, with its position in the order in which the user gave them
with ratings as (
    select * from stg_ratings
),

-- Many ratings share their second with others of the same user. Their order must not
-- depend on how ids were given, so it is that of a hash (Knuth's multiplicative one).
hashed as (
    select
        *,
        mod(item_id::bigint * 2654435761 + user_id::bigint * 40503, 4294967296) as tie
    from ratings
),

numbered as (
    select
        user_id,
        item_id,
        rating,
        rated_at,
        row_number() over (
            partition by user_id
            order by rated_at, tie, item_id
        ) as position
    from hashed
)

select * from numbered
