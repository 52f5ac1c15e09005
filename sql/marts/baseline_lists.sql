-- one row per (baseline, user of $user_ids, rank): the ten unseen items that each
-- baseline ranks highest
with users as (
    select unnest($user_ids::integer[]) as user_id
),

history as (
    select int_history.*
    from int_history
    semi join users using (user_id)
),

eligible as (
    select item_id
    from films
    where is_eligible
),

counts as (
    select int_item_counts.*
    from int_item_counts
    semi join eligible using (item_id)
),

histories as (
    select
        user_id,
        count(*) as n_ratings
    from history
    group by user_id
),

by_popularity as (
    select
        item_id,
        n_ratings,
        row_number() over (order by n_ratings desc, item_id asc) as rank
    from counts
),

-- a user with n ratings has not seen at least ten of the first n + 10 items
popularity as (
    select
        'popularity' as baseline,
        histories.user_id,
        by_popularity.item_id,
        by_popularity.n_ratings as score
    from histories
    inner join by_popularity on by_popularity.rank <= histories.n_ratings + 10
),

item_knn as (
    select
        'item_knn' as baseline,
        history.user_id,
        neighbours.item_id,
        sum(neighbours.similarity) as score
    from history
    inner join int_item_neighbours as neighbours
        on history.item_id = neighbours.other_item_id
    group by history.user_id, neighbours.item_id
),

scored as (
    select * from popularity
    union all
    select * from item_knn
),

ranked as (
    select
        scored.baseline,
        scored.user_id,
        scored.item_id,
        row_number() over (
            partition by scored.baseline, scored.user_id
            order by scored.score desc, scored.item_id asc
        ) as rank
    from scored
    semi join eligible using (item_id)
    anti join history
        on scored.user_id = history.user_id and scored.item_id = history.item_id
),

best as (
    select *
    from ranked
    where rank <= 10
    order by baseline, user_id, rank
)

select * from best
