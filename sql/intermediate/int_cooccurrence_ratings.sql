-- one row per rating that tells which items go together: the last thousand of each
-- teacher, where they are of the $n_compared most rated items
with history as (
    select * from int_history
),

-- what is kept grows with the square of the catalogue
compared as (
    select item_id from int_item_counts
    where popularity_rank <= $n_compared
),

cooccurrence_ratings as (
    select
        history.user_id,
        history.item_id,
        history.position,
        history.rated_at,
        history.is_liked
    from history
    semi join int_cooccurrence_users using (user_id)
    semi join compared using (item_id)
    -- the work grows with the square of a history's length
    where history.n_back < 1000
    -- neighbours in this order share the groups that they are counted in
    order by history.item_id, history.user_id
)

select * from cooccurrence_ratings
