-- one row per rating that its user gave next after the moment: what is to be predicted
with ratings as (
    select * from int_ratings
),

moments as (
    select * from int_moments
),

future as (
    select
        ratings.user_id,
        ratings.item_id,
        ratings.rating
    from ratings
    inner join moments using (user_id)
    where
        ratings.position > moments.n_history
        and ratings.position <= moments.n_known
)

select * from future
