INSERT INTO ads (id, seller_id, title, category, price_cents, latitude, longitude) VALUES
    -- Berlin
    (1, 'anneke', 'Touring bicycle, 28 inch', 'bicycles', 18000, 52.5206, 13.4098),
    (2, 'birol', 'Oak writing desk', 'furniture', 9500, 52.5163, 13.3777),
    (3, 'clara', 'Record player with 30 records', 'music', 12000, 52.4990, 13.4030),
    (4, 'anneke', 'Child seat for a bicycle', 'bicycles', 3500, 52.5310, 13.3847),
    (5, 'dmitri', 'Enamel stockpot, 10 litres', 'kitchen', 1800, 52.4862, 13.4250),
    (6, 'birol', 'Bookshelf, 2 m', 'furniture', 4000, 52.5450, 13.4110),
    (7, 'clara', 'Typewriter, portable', 'office', 6000, 52.5075, 13.3903),
    (8, 'hugo', 'Rangefinder camera with a 50 mm lens', 'cameras', 14500, 52.5305, 13.4128),
    (9, 'greta', 'Box of 40 crime novels', 'books', 2000, 52.5132, 13.4541),
    (10, 'anneke', 'Folding bicycle, 3 gears', 'bicycles', 11000, 52.5009, 13.4250),
    (11, 'hugo', 'Workbench with a vice', 'tools', 8500, 52.5390, 13.4240),
    (12, 'greta', 'Wooden train set, 60 pieces', 'toys', 2800, 52.5249, 13.4021),
    (13, 'dmitri', 'Espresso pot for six cups', 'kitchen', 1200, 52.5281, 13.4420),
    (14, 'clara', 'Wool coat, size 40', 'clothes', 4500, 52.5170, 13.3890),
    (15, 'birol', 'Two garden chairs, folding', 'garden', 1500, 52.5101, 13.4312),
    (16, 'hugo', 'Slide projector with a spare lamp', 'cameras', 3000, 52.4951, 13.3770),
    (17, 'greta', 'Accordion, 72 basses', 'music', 22000, 52.5497, 13.3920),
    (18, 'dmitri', 'Chess clock, wound by hand', 'toys', 2500, 52.5045, 13.3560),
    -- Potsdam
    (19, 'esra', 'Acoustic guitar', 'music', 7500, 52.3989, 13.0657),
    (20, 'esra', 'Garden bench, needs paint', 'garden', 2500, 52.4010, 13.0490),
    (21, 'esra', 'Cargo bicycle, a box for two children', 'bicycles', 95000, 52.3935, 13.0610),
    -- Hamburg
    (22, 'fiete', 'Rowing boat with oars', 'boats', 45000, 53.5511, 9.9937),
    (23, 'fiete', 'Ship''s lamp, brass', 'furniture', 6500, 53.5459, 9.9710),
    (24, 'fiete', 'Oilskin jacket, size 52', 'clothes', 3800, 53.5580, 9.9630),
    (25, 'greta', 'Sea charts of the Elbe, 1974', 'books', 4200, 53.5497, 10.0010),
    -- Leipzig
    (26, 'hugo', 'Letterpress cases, 12 drawers', 'furniture', 16000, 51.3397, 12.3731),
    (27, 'clara', 'Metronome, walnut', 'music', 3300, 51.3440, 12.3800),
    -- Cologne
    (28, 'birol', 'Carnival drum', 'music', 4000, 50.9375, 6.9603),
    (29, 'greta', 'Waffle iron, cast', 'kitchen', 2600, 50.9330, 6.9500),
    -- Munich
    (30, 'anneke', 'Racing bicycle, steel frame', 'bicycles', 32000, 48.1374, 11.5755),
    (31, 'dmitri', 'Skis with poles, 170 cm', 'sports', 5500, 48.1420, 11.5610),
    (32, 'esra', 'Sewing machine in its table', 'tools', 7000, 48.1310, 11.5900);

UPDATE ad_numbers SET next_id = 33;
