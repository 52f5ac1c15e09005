-- one row per rating that a user gave right after the cutoff: the labels to predict
with ratings as (
    select * from int_ratings
),

cutoffs as (
    select * from int_cutoffs
),

future as (
    select
        ratings.user_id,
        ratings.item_id,
        ratings.rating
    from ratings
    inner join cutoffs using (user_id)
    where
        ratings.position > cutoffs.n_history
        and ratings.position <= cutoffs.n_with_future
)

select * from future
