-- one row per rating up to its user's cutoff; n_back counts the ratings after it
with ratings as (
    select * from int_ratings
),

cutoffs as (
    select * from int_cutoffs
),

past as (
    select
        ratings.user_id,
        ratings.item_id,
        ratings.rating,
        ratings.rated_at,
        ratings.position,
        cutoffs.n_history,
        cutoffs.n_history - ratings.position as n_back,
        (ratings.position / cutoffs.n_history)::decimal(7, 6) as position_share
    from ratings
    inner join cutoffs using (user_id)
    where ratings.position <= cutoffs.n_history
),

-- Weights are decimals: a sum of floats depends on the order in which threads add, and
-- the same files must give the same lists.
weighted as (
    select
        *,
        rating >= $liked_from as is_liked,
        rating <= $disliked_to as is_disliked,
        pow(0.98, n_back)::decimal(5, 4) as slow_weight,
        pow(0.9, n_back)::decimal(5, 4) as weight,
        pow(0.8, n_back)::decimal(5, 4) as fast_weight
    from past
)

select * from weighted
