-- one row per rating, with its position in the order in which the user gave them
with ratings as (
    select * from stg_ratings
),

numbered as (
    select
        user_id,
        item_id,
        rating,
        rated_at,
        row_number() over (
            partition by user_id
            order by rated_at, item_id
        ) as position
    from ratings
)

select * from numbered
