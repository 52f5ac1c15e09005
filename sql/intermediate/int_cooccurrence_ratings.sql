-- one row per rating that co-occurrences are counted from: the last 1000 of each
-- co-occurrence user, restricted to the $n_compared most rated items
with history as (
    select * from int_history
),

-- the number of pairs grows with the square of the number of items
compared as (
    select item_id from int_item_counts
    where popularity_rank <= $n_compared
),

cooccurrence_ratings as (
    select
        history.user_id,
        history.item_id,
        history.position,
        history.rated_at
    from history
    semi join int_cooccurrence_users using (user_id)
    semi join compared using (item_id)
    -- the number of pairs also grows with the square of a history's length
    where history.n_back < 1000
    -- adjacent rows count in the same groups, so the groups stay in the cache
    order by history.item_id, history.user_id
)

select * from cooccurrence_ratings
